"""Laws of what crosses the broker: nothing is said, answered or acked before it is durable."""

import hashlib
from typing import Any

import orjson

from ladle.chaos.simulated.broker import Broker
from ladle.chaos.simulated.database import Database
from ladle.chaos.simulated.journal_laws import JournalLaws, Life
from ladle.chaos.simulated.laws import Violation, refuse_secret
from ladle.journal.store import OutboxCursor
from ladle_contracts.envelope import ContractViolation, decode_event, decode_request
from ladle_contracts.link import Message, Outgoing
from ladle_contracts.topology import Topology

MARKER_HEADER = "ladle-marker"


class WireLaws:
    """Watches the broker: what Ladle publishes, and what it acks."""

    def __init__(
        self, broker: Broker, database: Database, journal: JournalLaws, topology: Topology
    ) -> None:
        self.published: set[str] = set()
        self.dead: set[str] = set()
        self.taken: set[Life] = set()
        self._told_undone: set[str | None] = set()
        self._database = database
        self._passed = 0
        self._journal = journal
        self._topology = topology
        self._own = {topology.placement_events, topology.media_commands}
        broker.on_publish.append(self.on_publish)
        broker.on_refused.append(self.on_refused)
        broker.on_ack.append(self.on_ack)
        database.on_cursor.append(self.on_cursor)
        database.on_restore.append(self.go_back)

    def on_publish(self, message: Message, queues: tuple[str, ...]) -> None:
        refuse_secret(f"{message.exchange}/{message.routing_key}", message.body)
        if message.exchange in self._own:
            self._own_message(str(message.message_id))
        elif message.exchange == self._topology.placement_dead:
            self.dead.add(hashlib.sha256(message.body).hexdigest())
        elif message.exchange == self._topology.media_events:
            life = life_of(message)
            if life is not None and queues:
                self.taken.add(life)
        elif message.exchange == "" and message.type == "reply":
            self._reply(message)

    def on_refused(self, message: Outgoing) -> None:
        """An answer that was given, and lost at the broker's door."""
        if message.type == "reply":
            self._reply(message)

    def _own_message(self, message_id: str) -> None:
        self.published.add(message_id)
        _, offset, index = message_id.split(":")
        if (int(offset), int(index)) not in self._journal.sent:
            raise Violation("nothing is said before it is durable", message_id)

    def _reply(self, message: Message | Outgoing) -> None:
        """Each answer that names an offset is the one that stands there."""
        reply: dict[str, Any] = orjson.loads(message.body)
        offset = reply.get("journal_offset")
        if offset is None:
            if reply["status"] == "error":
                self._told_undone.add(message.correlation_id)
            return
        if offset > self._database.head.offset and not self._database.ever_at(offset):
            raise Violation(
                "every acknowledged allocation is in the journal",
                f"answered at {offset}, the journal ends at {self._database.head.offset}",
            )

    def on_ack(self, queue: str, message: Message) -> None:
        if queue == self._topology.inbox:
            self._event_is_durable(message)
        elif queue == self._topology.requests:
            self._request_is_durable(message)

    def _event_is_durable(self, message: Message) -> None:
        if MARKER_HEADER in message.headers:
            return
        try:
            event = decode_event(message)
        except ContractViolation as violation:
            self._refusal_is_durable(message, violation.reason)
            return
        life = (event.server_id, event.incarnation, event.sequence)
        known = event.id in self._journal.strangers or (
            event.incarnation is not None
            and event.sequence is not None
            and self._journal.is_durable((event.server_id, event.incarnation, event.sequence))
        )
        if not known and not self._is_refused(message):
            raise Violation("nothing is acked before it is durable", f"event {life}")

    def _refusal_is_durable(self, message: Message, reason: str) -> None:
        if reason != "unknown-type" and not self._is_refused(message):
            raise Violation("nothing is acked before it is durable", f"refused for {reason}")

    def _is_refused(self, message: Message) -> bool:
        digest = hashlib.sha256(message.body).hexdigest()
        return digest in self._journal.rejected and digest in self.dead

    def _request_is_durable(self, message: Message) -> None:
        digest = hashlib.sha256(message.body).hexdigest()
        if digest in self._journal.rejected:
            return
        # Too much at once: whoever asked was told that nothing was done, before the ack. Nobody
        # has read it then, and it may be one that nobody can.
        if message.correlation_id in self._told_undone:
            return
        try:
            request = decode_request(message)
        except ContractViolation as violation:
            raise Violation("nothing is acked before it is durable", str(violation)) from violation
        question = (request.user or "", request.operation, request.request_id)
        if not self._journal.is_recorded(question):
            raise Violation("nothing is acked before it is durable", f"request {question}")

    def on_cursor(self, cursor: OutboxCursor) -> None:
        """The cursor passes nothing that the broker never had."""
        order = self._journal.outbound
        while self._passed < len(order) and order[self._passed] <= (cursor.offset, cursor.index):
            if self.id_of(order[self._passed]) not in self.published:
                raise Violation("the outbox loses nothing", f"passed {order[self._passed]}")
            self._passed += 1

    def go_back(self) -> None:
        """Records are lost: their offsets, and so their messages' ids, will be given again.

        What the cursor had passed in the backup was published when it was made.
        """
        head, cursor = self._database.head.offset, self._database.outbox
        passed = [
            self.id_of(key)
            for key in self._journal.outbound
            if key <= (cursor.offset, cursor.index)
        ]
        self._passed = len(passed)
        self.published = {name for name in self.published if int(name.split(":")[1]) <= head}
        self.published.update(passed)

    def id_of(self, key: tuple[int, int]) -> str:
        return f"{self._topology.cell}:{key[0]}:{key[1]}"

    def unpublished(self) -> list[str]:
        """What the journal says was to be sent and never was."""
        return [
            name
            for key in self._journal.outbound
            if (name := self.id_of(key)) not in self.published
        ]


def life_of(message: Message) -> Life | None:
    """Which event of which life a message is; None where it says none."""
    try:
        event = decode_event(message)
    except ContractViolation:
        return None
    if event.incarnation is None or event.sequence is None:
        return None
    return event.server_id, event.incarnation, event.sequence
