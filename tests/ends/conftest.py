"""Both ends stand on links; here they stand on links in memory."""

from collections.abc import AsyncIterator

import pytest

from ladle_contracts.topology import Topology
from tests.ends.server_kit import App, Ladle
from tests.fixtures.manual_clock import ManualClock
from tests.fixtures.memory_link import MemoryBroker, MemoryLink


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def broker() -> MemoryBroker:
    topology = Topology()
    return MemoryBroker(topology.declarations(), topology.command_declarations("sfu-1"))


@pytest.fixture
def link(broker: MemoryBroker) -> MemoryLink:
    return MemoryLink(broker)


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
async def ladle(broker: MemoryBroker, clock: ManualClock) -> AsyncIterator[Ladle]:
    ladle = Ladle(broker, clock)
    await ladle.start()
    yield ladle
    await ladle.link.close()
