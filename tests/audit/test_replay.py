"""The state at a moment, what changed between two, and what became of one room or server."""

from dataclasses import replace

import pytest

from ladle.audit.changes import changes, state_of
from ladle.audit.errors import Altered, Incomplete
from ladle.audit.export_rows import Moment
from ladle.audit.replay import Replay
from ladle.audit.source import Claim
from ladle.audit.timeline import timeline, watched
from ladle.core.apply import apply
from ladle.core.record import Record
from ladle.core.rows import COLUMNS
from ladle.core.view import View
from tests.audit.recorded import Held, Life


def folded(life: Life, records: int) -> View:
    """The first records of the run, folded here and now."""
    view = View()
    for entry, outcome in life.cell.journal[:records]:
        apply(view, entry, outcome)
    return view


@pytest.mark.parametrize("offset", [0, 1, 250, 500])
def test_the_state_at_an_offset(life: Life, records: list[Record], offset: int) -> None:
    replay = Replay(Held(list(records)))
    replay.to(Moment(offset=offset))
    assert replay.view.digest() == folded(life, offset).digest()


def test_the_state_at_a_time_is_that_of_its_last_record(life: Life, records: list[Record]) -> None:
    at_ms = records[400].recorded_at_ms
    last = max(record.offset for record in records if record.recorded_at_ms <= at_ms)
    replay = Replay(Held(list(records)))
    replay.to(Moment(unix_ms=at_ms))
    assert replay.view.offset == last
    assert replay.view.digest() == folded(life, last).digest()
    replay.to(Moment(unix_ms=records[-1].recorded_at_ms + 10**9))
    assert replay.view.digest() == life.cell.view.digest(), "after the end nothing happens"


def test_an_offset_past_the_end_is_refused(records: list[Record]) -> None:
    replay = Replay(Held(list(records[:20])))
    with pytest.raises(Incomplete, match="ends at record 20, before 21"):
        replay.to(Moment(offset=21))


def test_no_state_is_folded_from_what_was_changed(records: list[Record]) -> None:
    spoiled = [*records[:10], replace(records[10], body=records[11].body), *records[11:20]]
    replay = Replay(Held(list(spoiled)))
    replay.to(Moment(offset=9))
    with pytest.raises(Altered, match="record 11"):
        replay.to(Moment(offset=20))


def test_no_state_is_folded_over_a_gap_or_from_a_part(records: list[Record]) -> None:
    with pytest.raises(Incomplete, match="records 11 to 11 are missing"):
        Replay(Held([*records[:10], *records[11:]])).to(Moment(offset=20))
    with pytest.raises(Incomplete, match="holds a part"):
        Replay(Held(list(records), claim=Claim(selected="room r")))


def test_no_state_is_folded_over_erased_content(records: list[Record]) -> None:
    erased = replace(records[10], body=b"", salt=b"", room_id=None, server_id=None)
    with pytest.raises(Incomplete, match="record 11 was erased"):
        Replay(Held([*records[:10], erased, *records[11:]])).to(Moment(offset=20))


# --- diff ----------------------------------------------------------------------------------------


def test_the_changes_between_two_states_lead_from_one_to_the_other(
    life: Life, records: list[Record]
) -> None:
    before, after = folded(life, 200), folded(life, 350)
    rows = {name: dict(table) for name, table in state_of(before).items()}
    found = list(changes(state_of(before), state_of(after)))
    for change in found:
        if change.after is None:
            del rows[change.table][change.key]
        else:
            columns = COLUMNS[change.table]
            old = dict(zip(columns, rows[change.table].get(change.key, ()), strict=False))
            rows[change.table][change.key] = tuple({**old, **change.after}[c] for c in columns)
    assert rows == state_of(after)
    assert any(change.before is None for change in found)
    assert any(change.after is None for change in found)
    assert list(changes(state_of(after), state_of(after))) == []


# --- timeline ------------------------------------------------------------------------------------


def test_the_timeline_of_a_room_ends_in_its_present_state(
    life: Life, records: list[Record]
) -> None:
    """Every change of what is watched is in it: played back, it gives the room as it is."""
    for name in ("room-1", "room-2", "eu-1"):
        state: dict[str, object] = {}
        told = list(timeline(Replay(Held(list(records))), name))
        for happening in told:
            for field, (before, after) in happening.changed.items():
                assert state.get(field) == before
                state[field] = after
        present = watched(life.cell.view, name)
        assert {k: v for k, v in state.items() if v is not None} == {
            k: v for k, v in present.items() if v is not None
        }
        assert len(told) > 5
        assert [h.offset for h in told] == sorted({h.offset for h in told})


def test_a_timeline_says_who_asked_and_what_was_answered(records: list[Record]) -> None:
    told = list(timeline(Replay(Held(list(records))), "room-1"))
    placed = next(h for h in told if h.what == "allocate" and h.status == "placed")
    assert placed.by == "app"
    assert placed.changed["room"] == [None, "held"]
    assert "room-allocated" in placed.said


def test_a_status_that_changes_nothing_is_not_told(records: list[Record]) -> None:
    told = list(timeline(Replay(Held(list(records))), "eu-1"))
    statuses = sum(b'"worker-status"' in r.body and r.server_id == "eu-1" for r in records)
    assert sum(h.what == "worker-status" for h in told) < statuses
    assert all(h.changed for h in told if h.what == "worker-status")


def test_nothing_is_told_of_a_room_that_never_was(records: list[Record]) -> None:
    assert list(timeline(Replay(Held(list(records))), "nowhere")) == []
