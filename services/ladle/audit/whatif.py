"""What if: the same demand under another policy or other limits, beside what was.

Two views go through the journal together. `was` is folded as recorded. `would` gets the same
entries, with what servers say of rooms brought to where the rooms would be, and decides anew.
With nothing changed the two stay the same, row by row.
Source: docs/adr/0031-what-if.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ladle.audit.replay import Replay
from ladle.audit.whatif_figures import Counts, Peaks, Sample, sample
from ladle.audit.whatif_time import Buckets
from ladle.audit.whatif_words import Translator
from ladle.audit.whatif_world import World
from ladle.core.limits import NAMES, Limits
from ladle.core.timers import next_due_ms


@dataclass(frozen=True, slots=True)
class Report:
    """Both worlds, side by side. limits: of each at the end. Times are Unix ms.

    left_out: lives of rooms that have no home in the alternative: refused, or ended before.
    asked_again, found_nothing: rooms that lost their home in the alternative alone, and how often
    one of them found no other.
    """

    source: str
    records: int
    from_ms: int
    to_ms: int
    limits: tuple[Limits, Limits]
    counts: tuple[Counts, Counts]
    decided: int
    elsewhere: int
    peaks: Peaks
    over_time: Buckets
    left_out: int
    asked_again: int
    found_nothing: int


def changeable() -> list[str]:
    """Names of the limits that may be other, ascending: the numbers."""
    return sorted(name for name in NAMES if type(getattr(Limits(), name)) is int)


def whatif(replay: Replay, source: str, other: Mapping[str, Any]) -> Report:
    """The rest of the replay beside a world with `other` limits (`policy` among them).

    Memory grows with the fleet and its rooms, not with the log. Raises SourceError as Replay does.
    """
    both = Comparison(replay, other)
    while replay.peek() is not None:
        both.step()
    both.finish()
    return Report(
        source=source,
        records=both.records,
        from_ms=both.from_ms,
        to_ms=replay.view.recorded_at_ms,
        limits=(replay.view.limits, both.world.view.limits),
        counts=(both.was, both.would),
        decided=both.decided,
        elsewhere=both.elsewhere,
        peaks=both.peaks,
        over_time=both.over_time,
        left_out=both.world.left_out,
        asked_again=both.world.asked_again,
        found_nothing=both.world.found_nothing,
    )


class Comparison:
    """One pass over the log, record by record."""

    def __init__(self, replay: Replay, other: Mapping[str, Any]) -> None:
        self.world = World(replay.view, other)
        self.was, self.would = Counts(), Counts()
        self.peaks = Peaks()
        self.over_time = Buckets()
        self.records = self.decided = self.elsewhere = self.from_ms = 0
        self._replay = replay
        self._translator = Translator(replay.view, self.world.view, frozenset(other))

    def step(self) -> None:
        """The next record, in both worlds."""
        ahead = self._replay.peek()
        assert ahead is not None
        entry, now_ms = ahead.entry, ahead.entry.recorded_at_ms
        view, world = self._replay.view, self.world
        self.from_ms = self.from_ms or now_ms
        if self.over_time.is_due(now_ms):
            self.over_time.add(now_ms, self._samples())
        world.tick_until(now_ms, next_due_ms(view))
        self._translator.note(entry)
        recorded = self._replay.fold().outcome
        outcome = world.fold(self._translator.translated(entry))
        changes = view.take_changes()
        moved = world.follow(changes)
        self.records += 1
        self.was.add(entry, recorded)
        self.would.add(entry, outcome)
        self.would.moves += moved
        self._compare(recorded, outcome)
        self.peaks.note(0, view, changes)
        self.peaks.note(1, world.view, world.take_changes())

    def finish(self) -> None:
        """The last moment counts as well."""
        self.over_time.add(self._replay.view.recorded_at_ms, self._samples())

    def _samples(self) -> tuple[Sample, Sample]:
        return sample(self._replay.view), sample(self.world.view)

    def _compare(self, recorded: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
        winners = [each.get("decision", {}).get("winner") for each in (recorded, outcome)]
        if None not in winners:
            places = [(each["server_id"], each["worker_id"]) for each in winners]
            self.decided += 1
            self.elsewhere += places[0] != places[1]
