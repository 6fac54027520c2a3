"""How the service declares what it needs at the broker: over AMQP, or in a simulation's broker."""

from collections.abc import Sequence
from typing import Protocol

from ladle.broker.declare import declare, declare_command_queues
from ladle.placement.settings import PlacementSettings
from ladle_contracts.topology import Topology


class Declaring(Protocol):
    """Both raise LinkDown where the broker cannot be reached, Refused where it does not let us."""

    async def cell(self, topology: Topology) -> None:
        """Exchanges, queues and bindings of the cell; what exists as asked is kept."""
        ...

    async def command_queues(self, topology: Topology, server_ids: Sequence[str]) -> None:
        """The command queues of these servers."""
        ...


class OverAmqp:
    """On a connection of its own, which ends with the declaration."""

    def __init__(self, settings: PlacementSettings) -> None:
        self._settings = settings

    async def cell(self, topology: Topology) -> None:
        settings = self._settings
        await declare(settings.url, topology, ssl_context=settings.ssl_context())

    async def command_queues(self, topology: Topology, server_ids: Sequence[str]) -> None:
        settings = self._settings
        await declare_command_queues(
            settings.url, topology, server_ids, ssl_context=settings.ssl_context()
        )
