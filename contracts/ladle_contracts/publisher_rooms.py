"""What a publisher has said of its rooms, so that a command can name one life of a room."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from .events import RoomCreated, RoomLoad, WorkerStatus
from .publisher_pipeline import Fate, Settled


@dataclass(slots=True)
class RoomLife:
    """A room as it was said; `sequence` is that of the saying, None where it was not said yet."""

    created: RoomCreated
    sequence: int | None


class UnheardEnds:
    """Ends of rooms that Ladle has not heard of, as they gave way to a complete status.

    Where that lists the room's next life, Ladle takes it for the one that it knew, and means it by
    that sequence when it says close.
    """

    def __init__(self) -> None:
        self._ends: dict[str, tuple[int, Settled]] = {}

    def add(self, room_id: str, life: RoomLife | None, settled: Settled) -> None:
        """The end of that life was said, or left out at once; None: nobody knew of any."""
        known = None if life is None else life.sequence
        first, _ = self._ends.get(room_id, (known, None))
        # Of several lives that nobody heard the end of, the first is the one that Ladle knows.
        if first is not None:
            self._ends[room_id] = first, settled
            settled.add_done_callback(partial(self._on_settled, room_id))

    def begin_anew(self, room_id: str, before: RoomLife | None, settled: Settled) -> None:
        """A room was created; `before`: a life of it whose end nobody said, as its worker died.

        That it was created anew tells of that end too, unless it gives way.
        """
        if before is not None:
            self.add(room_id, before, settled)

    def listed_in(
        self, status: WorkerStatus, sequence: int, before: Mapping[str, RoomLife], settled: Settled
    ) -> dict[str, RoomLife]:
        """The rooms after a complete status: it is the saying of those that were not said before,
        and the end of those that it lacks. `settled`: its own fate, for it may give way too."""
        rooms: dict[str, RoomLife] = {}
        for room in status.rooms or []:
            life = before.get(room.room_id) or RoomLife(_as_created(room), None)
            life.sequence = self._first_life(room.room_id) or life.sequence or sequence
            rooms[room.room_id] = life
        self._hear_with(settled)
        for room_id in before.keys() - rooms.keys():
            self.add(room_id, before[room_id], settled)
        return rooms

    def _first_life(self, room_id: str) -> int | None:
        """The sequence of the life that Ladle knows by now; None where it is the room's own."""
        first, settled = self._ends.get(room_id, (None, None))
        return first if settled is not None and _fate(settled) is Fate.REPLACED else None

    def _hear_with(self, status: Settled) -> None:
        """A complete status stands for all of them, once it is confirmed."""
        ends = dict(self._ends)

        def on_settled(settled: Settled) -> None:
            if _fate(settled) is Fate.CONFIRMED:
                for room_id, end in ends.items():
                    if self._ends.get(room_id) is end:
                        del self._ends[room_id]

        if ends:
            status.add_done_callback(on_settled)

    def clear(self) -> None:
        """Another incarnation begins."""
        self._ends.clear()

    def _on_settled(self, room_id: str, settled: Settled) -> None:
        _, latest = self._ends.get(room_id, (None, None))
        if latest is settled and _fate(settled) is not Fate.REPLACED:
            del self._ends[room_id]


def _fate(settled: Settled) -> Fate | None:
    if not settled.done() or settled.cancelled() or settled.exception() is not None:
        return None
    return settled.result()


def _as_created(room: RoomLoad) -> RoomCreated:
    return RoomCreated(
        room_id=room.room_id, worker_id=room.worker_id, allocation_id=room.allocation_id
    )
