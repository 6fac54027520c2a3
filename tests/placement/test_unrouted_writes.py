"""Writing requests for which there is no queue are told so, and to come again."""

import aiormq
import pytest

from ladle_contracts.errors import Unavailable
from ladle_contracts.topology import Topology
from tests.fixtures.service import Running

pytestmark = pytest.mark.broker


async def test_a_write_without_a_queue_is_unavailable_and_not_unknown(service: Running) -> None:
    """The exchange gives it to the queries: an unknown operation would not be asked again."""
    topology = Topology(service.cell)
    connection = await aiormq.connect(service.settings.url)
    channel = await connection.channel()
    await channel.queue_unbind(topology.requests, topology.placement_requests, "allocate")
    async with service.client(attempts_max=1) as client:
        with pytest.raises(Unavailable) as refused:
            await client.allocate("standup")
        assert refused.value.retryable
        assert refused.value.retry_after_ms
    await connection.close()
