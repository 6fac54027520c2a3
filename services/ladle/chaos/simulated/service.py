"""What the simulation runs: the programs, which whoever starts the simulation brings.

Services do not import each other, so the real ones come in from the command, by `Programs`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from ladle.broker.stream import Logged, Start
from ladle.core.record import Record
from ladle.core.view import View
from ladle.journal.store import Lease, Snapshot, Store
from ladle_contracts.clock import Clock
from ladle_contracts.link import Link
from ladle_contracts.topology import Topology


class RunningTerm(Protocol):
    """One writer between taking the lease and giving it up."""

    @property
    def lease(self) -> Lease: ...

    @property
    def caught_up(self) -> bool: ...


class Follows(Protocol):
    """A view that is kept up by what another process writes; None before it is loaded."""

    @property
    def view(self) -> View | None: ...


class StandingBy(Protocol):
    """A process that answers reads while another writes."""

    @property
    def follower(self) -> Follows: ...


class Service(Protocol):
    """One placement process. `term` is None while it stands by, `standby` while it does not."""

    @property
    def term(self) -> RunningTerm | None: ...

    @property
    def standby(self) -> StandingBy | None: ...

    async def run(self, stop: asyncio.Event) -> None: ...


class Declares(Protocol):
    """How the service declares at the broker."""

    async def cell(self, topology: Topology) -> None: ...

    async def command_queues(self, topology: Topology, server_ids: Sequence[str]) -> None: ...


class Stream(Protocol):
    """The broker's stream while it is open."""

    def until_now(self, start: Start) -> AsyncIterator[Logged]: ...


OpenStream = Callable[[float], AbstractAsyncContextManager[Stream]]


class MakeService(Protocol):
    """Puts the real service together. `settings`: what an operator may set, by name.

    accept_loss: it may go on where the journal has lost records. rules: which edition it knows.
    """

    def __call__(
        self,
        settings: Mapping[str, Any],
        *,
        holder: str,
        store: Store,
        make_link: Callable[[], Link],
        clock: Clock,
        declaring: Declares,
        open_log: OpenStream,
        accept_loss: bool,
        rules: int,
    ) -> Service: ...


@dataclass(frozen=True, slots=True)
class Audited:
    """What an audit came to. offset: of the record that the first finding is about."""

    exit_code: int
    offset: int | None
    said: str


class Audit(Protocol):
    """`ladle audit verify` of these records and these rows."""

    def __call__(self, records: Sequence[Record], state: Snapshot) -> Audited: ...


@dataclass(frozen=True, slots=True)
class Programs:
    """The real ones."""

    make_service: MakeService
    audit: Audit
