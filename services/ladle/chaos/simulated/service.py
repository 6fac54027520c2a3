"""What the simulation runs: the placement service, which whoever starts the simulation brings.

Services do not import each other, so the real one comes in from the command, by `MakeService`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ladle.journal.store import Lease, Store
from ladle_contracts.clock import Clock
from ladle_contracts.link import Link
from ladle_contracts.topology import Topology


class RunningTerm(Protocol):
    """One writer between taking the lease and giving it up."""

    @property
    def lease(self) -> Lease: ...

    @property
    def caught_up(self) -> bool: ...


class Service(Protocol):
    """One placement process. `term` is None while it stands by."""

    @property
    def term(self) -> RunningTerm | None: ...

    async def run(self, stop: asyncio.Event) -> None: ...


class Declares(Protocol):
    """How the service declares at the broker."""

    async def cell(self, topology: Topology) -> None: ...

    async def command_queues(self, topology: Topology, server_ids: Sequence[str]) -> None: ...


class MakeService(Protocol):
    """Puts the real service together. `settings`: what an operator may set, by name."""

    def __call__(
        self,
        settings: Mapping[str, Any],
        *,
        holder: str,
        store: Store,
        make_link: Callable[[], Link],
        clock: Clock,
        declaring: Declares,
    ) -> Service: ...
