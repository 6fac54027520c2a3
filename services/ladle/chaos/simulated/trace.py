"""One digest of all that happened in a run, and when: the same seed gives the same, anywhere."""

import hashlib

from ladle.chaos.simulated.broker import Broker
from ladle.chaos.simulated.database import Database
from ladle.chaos.simulated.loop import SimulatedLoop
from ladle.journal.store import Batch, Lease
from ladle_contracts.link import Message


class Trace:
    """What the broker took, what was acked and what was committed, in its order."""

    def __init__(self, loop: SimulatedLoop, broker: Broker, database: Database) -> None:
        self._loop = loop
        self._sum = hashlib.sha256()
        broker.on_publish.append(self._published)
        broker.on_ack.append(self._acked)
        database.on_append.append(self._appended)

    @property
    def digest(self) -> str:
        """64 hex digits."""
        return self._sum.hexdigest()

    def _add(self, *what: object) -> None:
        self._sum.update(repr((self._loop.now_us, *what)).encode())

    def _published(self, message: Message, queues: tuple[str, ...]) -> None:
        self._add(message.exchange, message.routing_key, message.correlation_id, message.body)

    def _acked(self, queue: str, message: Message) -> None:
        self._add(queue, message.message_id, message.correlation_id)

    def _appended(self, lease: Lease, batch: Batch) -> None:
        self._add(lease.term, batch.records[-1].hash)
