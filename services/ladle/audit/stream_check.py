"""The broker's stream by itself: what must hold of what was said, where there is no journal.

It has no records: nothing can be folded or derived from it, and no chain binds it. So nothing here
proves a decision; a report that finds nothing wrong is still an incomplete one.
Source: docs/adr/0037-what-the-stream-alone-can-tell.md.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

from ladle.audit.errors import INCOMPLETE, VIOLATION
from ladle.audit.finding import Finding, Findings, Law
from ladle.audit.said import Place, Said, said_of
from ladle.audit.stream_lives import StreamLife
from ladle_contracts.envelope import Event
from ladle_contracts.events import WorkerStatus
from ladle_contracts.link import Message
from ladle_contracts.topology import Topology
from ladle_contracts.violation import Reason

RECENT = 100_000
"""Sayings that a copy is compared with; one of an older saying is counted and no more."""

NO_RECORDS = (
    "requests, ticks, settings, the chain, decisions, outcomes and the view: the stream holds no "
    "records; `ladle audit verify --against-stream` holds a journal against it"
)
AS_AFTER = "as after a backup was restored, or where two cells write to one broker"


@dataclass(slots=True)
class StreamReport:
    """What was heard. first, last: positions in the stream; None where it holds nothing.

    events, own: sayings of servers and of Ladle, each once; copies: heard again, word for word.
    refused: by reason, messages of servers that the contract refuses, as Ladle did.
    lives: servers' incarnations. missing, unchecked: sentences.
    """

    source: str
    messages: int = 0
    first: int | None = None
    last: int | None = None
    events: int = 0
    own: int = 0
    copies: int = 0
    lives: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)
    missing: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """Never 0: what would have to be proved stands in the journal."""
        return VIOLATION if self.findings.count else INCOMPLETE


class StreamCheck:
    """`hear` the stream's messages in order, then `end`.

    Memory grows with servers' lives, and with the sayings up to RECENT of them.
    """

    def __init__(self, name: str, topology: Topology) -> None:
        self.report = StreamReport(name)
        self._topology = topology
        self._started = time.perf_counter()
        self._recent: dict[str, bytes] = {}
        self._lives: dict[tuple[str, int], StreamLife] = {}
        self._place: Place | None = None
        self._first_place: Place = (0, 0)
        self._unknown = self._unnumbered = self._too_old = 0

    def hear(self, position: int, message: Message) -> None:
        """The next message; what is no saying is counted and passed by."""
        report = self.report
        report.messages += 1
        report.first = position if report.first is None else report.first
        report.last = position
        said = said_of(position, message, self._topology)
        if said is None:
            return
        if said.refused is not None:
            findings = self._refused(said)
        elif said.is_own:
            findings = self._own(said)
        else:
            findings = self._event(said)
        for finding in findings:
            report.findings.add(finding)

    def end(self) -> StreamReport:
        """What only the end shows: holes, and what could not be checked."""
        report = self.report
        report.lives = len(self._lives)
        report.missing += self._holes()
        if report.first is None:
            report.missing.append("the stream holds nothing: is it the broker of this cell?")
        elif report.first:
            said = "what was said before is no longer there"
            report.missing.append(f"the stream begins at position {report.first}: {said}")
        counts = (
            (self._unknown, "messages are of a type that the contract of this program lacks"),
            (self._unnumbered, "events of servers have no sequence: nobody sees whether some lack"),
            (self._too_old, "sayings came so late that no first one is left to compare them with"),
        )
        report.unchecked += [f"{count:,} {said}" for count, said in counts if count]
        report.unchecked.append(NO_RECORDS)
        report.seconds = time.perf_counter() - self._started
        return report

    def _refused(self, said: Said) -> Iterator[Finding]:
        """A server may say nonsense, and Ladle refuses it; Ladle itself may not."""
        refused = said.refused
        assert refused is not None
        if refused.reason is Reason.UNKNOWN_TYPE:
            self._unknown += 1
        elif said.is_own:
            what = f"an own event of Ladle breaks the contract: {refused.detail}"
            yield self._finding(Law.READABLE, said, what, said.message.message_id, refused.reason)
        else:
            self.report.refused[str(refused.reason)] += 1

    def _own(self, said: Said) -> Iterator[Finding]:
        """Own events ascend, and each is said once or again word for word."""
        place, identity = said.place, said.identity
        assert place is not None
        if said.message.message_id != identity:
            what = "an own event stands in a message with another id"
            yield self._finding(Law.READABLE, said, what, said.message.message_id, identity)
        if self._place is None:
            self._first_place = place
        if self._place is None or place > self._place:
            self._place = place
            self.report.own += 1
            self._remember(said)
            return
        if place < self._first_place and self.report.first:
            self._too_old += 1  # Its first copy was cut off.
            return
        yield from self._again(said, self._behind(said))

    def _behind(self, said: Said) -> Finding:
        assert self._place is not None
        last = f"{self._topology.cell}:{self._place[0]}:{self._place[1]}"
        what = f"an own event came behind later ones for the first time, {AS_AFTER}"
        return self._finding(Law.ORDER, said, what, said.identity, f"above {last}")

    def _event(self, said: Said) -> Iterator[Finding]:
        event = said.event
        assert isinstance(event, Event)
        if event.incarnation is None or event.sequence is None:
            if said.identity in self._recent:
                yield from self._again(said)
                return
            self._unnumbered += 1
        else:
            life = self._life(event.server_id, event.incarnation, event.sequence)
            if not life.hear(event.sequence):
                yield from self._again(said)
                return
            if isinstance(event.data, WorkerStatus) and event.data.complete:
                life.complete(event.sequence)
        self.report.events += 1
        self._remember(said)

    def _life(self, server_id: str, incarnation: int, sequence: int) -> StreamLife:
        life = self._lives.get((server_id, incarnation))
        if life is None:
            # Of a stream that was cut, nobody knows where the life began.
            heard_to = sequence - 1 if self.report.first else 0
            life = self._lives[server_id, incarnation] = StreamLife(heard_to)
        return life

    def _again(self, said: Said, unheard: Finding | None = None) -> Iterator[Finding]:
        """A copy, if it is one. unheard: what it is where nobody said it before."""
        first = self._recent.get(said.identity or "")
        if first is None:
            if unheard is not None and len(self._recent) < RECENT:
                yield unheard
            else:
                self._too_old += 1
        elif first == _content(said):
            self.report.copies += 1
        else:
            what = "two that differ were said under one identity"
            what = f"{what}, {AS_AFTER}" if said.is_own else what
            yield self._finding(Law.ORDER, said, what, said.identity, "the same as before")

    def _remember(self, said: Said) -> None:
        assert said.identity is not None
        self._recent[said.identity] = _content(said)
        if len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]

    def _finding(
        self, law: Law, said: Said, what: str, stands: object, should_be: object
    ) -> Finding:
        where = f"position {said.position} of {self._topology.log}"
        return Finding(law, None, what, where, stands, should_be)

    def _holes(self) -> Iterator[str]:
        missing = {key: life for key, life in sorted(self._lives.items()) if life.missing}
        if not missing:
            return
        count = sum(life.missing for life in missing.values())
        (server_id, incarnation), life = next(iter(missing.items()))
        hole = life.first_hole
        which = "" if hole is None else f", sequences {hole[0]} to {hole[1]} among them"
        yield (
            f"{count:,} events of servers were not heard and no complete status stands for them, "
            f"in {len(missing)} of {len(self._lives)} lives; the first is {server_id}, incarnation "
            f"{incarnation}{which}"
        )


def _content(said: Said) -> bytes:
    """A digest of what it says; not of how, nor of when: a second attempt may differ in that."""
    assert said.event is not None
    told = [said.event.type, said.event.id, said.data]
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).digest()[:16]
