"""Backends of the simulation: the real client, and callers who ask again where they do not know."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from ladle.chaos.simulated.cable import Cable
from ladle.chaos.simulated.clock import SimulatedClock
from ladle.chaos.simulated.laws import Violation
from ladle.chaos.simulated.link import SimulatedLink
from ladle.chaos.simulated.loop import Host
from ladle.journal.chain import open_record
from ladle_contracts.client import PlacementClient
from ladle_contracts.errors import (
    OutcomeUnknownError,
    PlacementError,
    RequestTimedOut,
    Unreachable,
)
from ladle_contracts.replies import PlacedReply, Reply

if TYPE_CHECKING:
    from ladle.chaos.simulated.world import World

TIMEOUT_MS = 15_000
SLACK_MS = 1_500
"""What a call may take beyond its deadline: the flush of what it had begun."""

ANSWER_FIELDS = ("room_id", "allocation_id", "generation", "outcome")


class Backend:
    """One process that asks, through all its lives."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.clock = SimulatedClock(world.loop)
        self.cable = Cable(world.loop)
        self.open_calls = 0
        self.link: SimulatedLink
        self.host: Host
        self.client: PlacementClient
        self._world = world
        self._random: Random = world.chance.stream(f"backend {name}")
        self._lives = 0
        self._ids = 0
        self._is_open = False

    # Lives

    def start(self) -> None:
        """A new process, which connects for as long as it takes."""
        self._lives += 1
        self._is_open = False
        self.open_calls = 0
        self.host = Host(f"{self.name}.{self._lives}")
        self.link = SimulatedLink(
            self._world.broker, self.host, self.host.name, self._random, self.name, self.cable
        )
        self.client = PlacementClient(
            self.link,
            timeout_ms=TIMEOUT_MS,
            clock=self.clock,
            user_id=self.name,
            chance=self._random,
            new_id=self._new_id,
        )
        self._world.loop.spawn(self.host, self._open())

    async def _open(self) -> None:
        while not self._is_open:
            try:
                await self.client.open()
                self._is_open = True
            except Unreachable:
                await self.clock.sleep(500)

    def kill(self) -> None:
        """The process is gone, and its callers with it; it begins anew."""
        self.link.end("killed")
        self._world.loop.kill(self.host)
        self.start()

    def lose_power(self) -> None:
        """The machine is gone without a word; another takes its place."""
        self.link.vanish()
        self._world.loop.kill(self.host)
        self.start()

    @property
    def links(self) -> list[SimulatedLink]:
        """Its connection to the broker."""
        return [self.link]

    def _new_id(self) -> str:
        self._ids += 1
        return f"{self.name}-{self._ids}"

    # Asking

    def ask(self, operation: str, *, again: int = 2, **body: Any) -> None:
        """Let one of its callers ask."""
        if self._is_open:
            life = self._lives
            self._world.loop.spawn(self.host, self._call(life, operation, again, body))

    async def _call(self, life: int, operation: str, again: int, body: dict[str, Any]) -> None:
        world = self._world
        began_us = world.loop.now_us
        world.tally.attempted += 1
        self.open_calls += 1
        try:
            reply = await getattr(self.client, operation)(**body)
        except PlacementError as error:
            self._failed(life, operation, again, body, error)
        else:
            self._answered(operation, body, reply)
        finally:
            if life == self._lives:
                self.open_calls -= 1
                self._in_time(operation, began_us)

    def _in_time(self, operation: str, began_us: int) -> None:
        took_ms = (self._world.loop.now_us - began_us) // 1_000
        if took_ms > TIMEOUT_MS + SLACK_MS:
            self._broken("an answer or an error within the deadline", f"{operation}: {took_ms} ms")

    def _failed(
        self, life: int, operation: str, again: int, body: dict[str, Any], error: PlacementError
    ) -> None:
        tally = self._world.tally
        tally.answers[error.code] = tally.answers.get(error.code, 0) + 1
        if not isinstance(error, OutcomeUnknownError | RequestTimedOut):
            tally.refused += 1
            return
        tally.unknown += 1
        if again and life == self._lives and operation not in ("lookup", "view", "rooms"):
            # The same question: who does not know the answer may ask for it with the same id.
            self.ask(operation, again=again - 1, **{**body, "request_id": error.request_id})

    def _answered(self, operation: str, body: dict[str, Any], reply: Reply) -> None:
        world = self._world
        world.tally.acknowledged += 1
        if not isinstance(reply, PlacedReply):
            return
        world.tally.answers[reply.outcome] = world.tally.answers.get(reply.outcome, 0) + 1
        self._is_in_the_journal(operation, body, reply)
        world.homes[reply.room_id] = reply
        self._people_come(reply)

    def _is_in_the_journal(self, operation: str, body: dict[str, Any], reply: PlacedReply) -> None:
        records = self._world.database.ever_at(reply.journal_offset)
        law = "every acknowledged allocation is in the journal"
        if not records:
            self._broken(law, f"offset {reply.journal_offset} was never written")
            return
        said = [getattr(reply, name) for name in ANSWER_FIELDS]
        for opened in map(open_record, records):
            recorded = opened.outcome.get("reply") or {}
            if said == [recorded.get(name) for name in ANSWER_FIELDS]:
                break
        else:
            self._broken(law, f"offset {reply.journal_offset} says otherwise: {said}")
            return
        asked = opened.entry.payload.get("body") or {}
        server = recorded.get("server") or {}
        if reply.server.server_id != server.get("server_id"):
            self._broken(law, f"offset {reply.journal_offset} names another server")
        if asked.get("room_id") != body.get("room_id"):
            self._broken("each caller gets the answer to its own question", f"{operation}: {body}")
        if asked.get("metadata", {}).get("call") != (body.get("metadata") or {}).get("call"):
            self._broken("each caller gets the answer to its own question", f"{operation}: {body}")

    def _people_come(self, reply: PlacedReply) -> None:
        """Most callers send people at once, some late, some never."""
        draw = self._random.random()
        wait_ms = int(self._random.random() * 3_000)
        if draw < 0.15:
            return
        if draw < 0.25:
            wait_ms += 35_000
        server = self._world.servers[reply.server.server_id]
        self._world.later(
            wait_ms,
            server.join,
            *(reply.room_id, reply.server.worker_id, reply.allocation_id, reply.reserved_peers),
        )
        if self._random.random() < 0.5:
            lives_ms = wait_ms + 1_000 + int(self._random.random() * 60_000)
            self._world.later(lives_ms, self._world.end_room, server, reply.room_id)

    def _broken(self, law: str, what: str) -> None:
        self._world.loop.fail(Violation(law, f"{self.name}: {what}"))
