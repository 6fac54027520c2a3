"""A thing that happens to one room: what the effects of the room table read and change."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ladle.core.decide import Decision
from ladle.core.rows import Room, Router, changed
from ladle.core.stamps import Life
from ladle.core.step import ImpossibleState, Step
from ladle.core.words import Phase

PHASES = {str(phase): phase for phase in Phase}


class Told(NamedTuple):
    """What a server says of a room. seen: consumers; None where an event says nothing of them."""

    server_id: str
    life: Life
    worker_id: str | None = None
    allocation_id: str | None = None
    peers: int | None = None
    seen: int | None = None
    reason: str | None = None


class Asked(NamedTuple):
    """What a caller asks for. wishes: JSON that a later move keeps to.

    may_raise: False where the caller is to be told of the home, and may reserve no more in it.
    """

    peers: int
    publishers: int
    streams: int
    cost: int
    hold_ms: int
    wishes: str = "{}"
    decision: Decision | None = None
    reason: str | None = None
    may_raise: bool = True


@dataclass(slots=True)
class Case:
    """One happening. `room` is a copy of the row, changed by the effects and put by `turn`."""

    step: Step
    room_id: str
    room: Room | None = None
    told: Told | None = None
    asked: Asked | None = None
    reason: str | None = None
    fits: bool = True
    left: list[str] = field(default_factory=list)  # servers whose stamps may now run out

    @classmethod
    def of(
        cls,
        step: Step,
        room_id: str,
        *,
        told: Told | None = None,
        asked: Asked | None = None,
        reason: str | None = None,
    ) -> "Case":
        """The case with the room as the view has it."""
        row = step.view.rooms.get(room_id)
        room = None if row is None else changed(row)
        return cls(step, room_id, room, told=told, asked=asked, reason=reason)

    @property
    def phase(self) -> Phase:
        return Phase.NOWHERE if self.room is None else PHASES[self.room.phase]

    @property
    def home(self) -> Room:
        """The room, which the table says is somewhere."""
        if self.room is None:
            raise ImpossibleState(f"room {self.room_id} is nowhere")
        return self.room

    @property
    def teller(self) -> Told:
        """What the server says, in a case that begins with that."""
        if self.told is None:
            raise ImpossibleState(f"no server speaks of room {self.room_id}")
        return self.told

    @property
    def wanted(self) -> Asked:
        """What the caller asks, in a case that begins with that."""
        if self.asked is None:
            raise ImpossibleState(f"nobody asks for room {self.room_id}")
        return self.asked

    def routers(self) -> list[Router]:
        """The room's routers as they are now, in order."""
        view, room_id = self.step.view, self.room_id
        numbers = view.home_of.get(room_id, ())
        # Asked several times for every record, and nearly always of one router, or of none.
        if len(numbers) == 1:
            return [view.routers[room_id, numbers[0]]]
        return [view.routers[room_id, number] for number in numbers]

    def router_of(self, server_id: str) -> Router | None:
        """The room's first router on this server."""
        for row in self.routers():
            if row.server_id == server_id:
                return row
        return None

    def facts(self) -> Mapping[str, str | int | None]:
        """What every own event about the room says."""
        routers = self.routers()
        return {
            "room_id": self.room_id,
            "server_id": routers[0].server_id if routers else None,
            "worker_id": routers[0].worker_id if routers else None,
            "generation": self.home.generation,
            "allocation_id": self.home.allocation_id,
        }
