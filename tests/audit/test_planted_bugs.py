"""Bugs planted in the core, one at a time: `verify` finds each on a run that was recorded without.

An audit that reports "0 violations" is worth what it would have found.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby

import pytest

from ladle.audit.errors import VERIFIED, VIOLATION
from ladle.audit.verify import verify
from ladle.core import (
    administration,
    closings,
    fading,
    index,
    liveness,
    load,
    received,
    registration,
    room,
    stamps,
    status,
    timers,
)
from ladle.core import view as view_module
from ladle.core.field import Field
from ladle.core.index import Pick
from ladle.core.policies import POLICIES
from ladle.core.record import Record
from ladle.core.step import Step
from ladle.core.view import View
from tests.audit.recorded import Held, rows_of

Plant = Callable[[pytest.MonkeyPatch], None]


def a_tie_falls_the_other_way(patch: pytest.MonkeyPatch) -> None:
    """The ids come last in a total order; here the last of equals is the best."""

    def ranked(field: Field, seed: str) -> Iterator[tuple[Pick, dict[str, int]]]:
        for _, equals in groupby(field.emptiest(), key=lambda pick: pick[:2]):
            for pick in reversed(list(equals)):
                yield pick, {}

    patch.setitem(POLICIES, "least-loaded", replace(POLICIES["least-loaded"], ranked=ranked))


def capacity_is_not_given_back(patch: pytest.MonkeyPatch) -> None:
    """A router that goes stays in the sums."""
    account = load.Load.account

    def kept(self: load.Load, old: load.RouterShare | None, new: load.RouterShare | None) -> None:
        if new is not None:
            account(self, old, new)

    patch.setattr(load.Load, "account", kept)


def a_stale_report_is_accepted(patch: pytest.MonkeyPatch) -> None:
    """An event of a room at or below its stamp is taken for news."""
    patch.setattr(stamps, "is_history", lambda view, room_id, server_id, life: False)


def a_duplicate_is_folded_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(received, "is_duplicate_event", lambda view, payload, offset_now: False)


def a_room_costs_too_little(patch: pytest.MonkeyPatch) -> None:
    """Publishers x peers, less one for all instead of one for each."""
    patch.setattr(load, "cost", lambda peers, publishers=None, streams=2: peers * peers - 1)


def a_hot_worker_takes_rooms(patch: pytest.MonkeyPatch) -> None:
    """At the limit is above it; here a worker at exactly 850 permille still serves."""
    overridden = view_module.overridden

    def off_by_one(values: dict[str, object]) -> object:
        limits = overridden(values)
        return replace(limits, cpu_permille_max=limits.cpu_permille_max + 1)

    patch.setattr(view_module, "overridden", off_by_one)


def a_hold_runs_a_millisecond_longer(patch: pytest.MonkeyPatch) -> None:
    overridden = view_module.overridden
    patch.setattr(
        view_module,
        "overridden",
        lambda values: replace(overridden(values), hold_ms=overridden(values).hold_ms + 1),
    )


def a_draining_server_takes_rooms(patch: pytest.MonkeyPatch) -> None:
    why_out = index._why_out

    def open_while_draining(server: view_module.Server) -> str | None:
        reason = why_out(server)
        return None if reason == server.administration else reason

    patch.setattr(index, "_why_out", open_while_draining)


def a_command_is_repeated_without_a_growing_pause(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Step, "pause_ms", lambda self, tries: self.view.limits.reissue_ms)


def an_allocation_id_starts_at_nought(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        Step, "new_allocation_id", lambda self: f"{self.view.limits.cell}:{self.offset}:0"
    )


def a_reservation_fades_a_step_too_early(patch: pytest.MonkeyPatch) -> None:
    reserved_at = load.reserved_at
    patch.setattr(fading, "reserved_at", lambda step, cost, seen: reserved_at(step + 1, cost, seen))


def a_generation_is_used_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stamps, "last_generation", lambda view, room_id: 0)


def silence_is_forgiven_for_longer(patch: pytest.MonkeyPatch) -> None:
    stale_ms = liveness.stale_ms
    patch.setattr(liveness, "stale_ms", lambda view, server: stale_ms(view, server) + 1)


def an_expired_hold_is_left(patch: pytest.MonkeyPatch) -> None:
    """The tick skips a room whose hold is over, and looks again in a second."""

    def wait(step: Step, room_id: str) -> None:
        row = step.view.rooms[room_id]
        step.view.put(view_module.changed(row, held_until_ms=step.now_ms + 1000))

    patch.setitem(timers.DUE, "hold", wait)  # type: ignore[arg-type]


def a_closing_is_not_remembered_as_ended(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(closings, "end", lambda step, room_id, server_id: None)


def a_complete_status_ends_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(room, "unlisted", lambda step, server_id, life, room_ids: None)


def a_restart_keeps_the_old_load(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(registration, "_begin_worker", lambda step, worker, incarnation: None)


def a_hole_is_never_closed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(received, "close_holes", lambda server, sequence, now_ms, hole_ms: server)


def a_drained_server_says_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(administration, "review", lambda step, server_id: None)


def a_room_on_two_workers_counts_once(patch: pytest.MonkeyPatch) -> None:
    """A listed room's load is lost."""
    by_room = status._by_room

    def without_load(server_id: str, life: tuple[int, int], rooms: object) -> object:
        return {
            name: told._replace(seen=0) if hasattr(told, "_replace") else replace(told, seen=0)
            for name, told in by_room(server_id, life, rooms).items()
        }

    patch.setattr(status, "_by_room", without_load)


PLANTS: list[Plant] = [
    a_tie_falls_the_other_way,
    capacity_is_not_given_back,
    a_stale_report_is_accepted,
    a_duplicate_is_folded_again,
    a_room_costs_too_little,
    a_hot_worker_takes_rooms,
    a_hold_runs_a_millisecond_longer,
    a_draining_server_takes_rooms,
    a_command_is_repeated_without_a_growing_pause,
    an_allocation_id_starts_at_nought,
    a_reservation_fades_a_step_too_early,
    a_generation_is_used_twice,
    silence_is_forgiven_for_longer,
    an_expired_hold_is_left,
    a_closing_is_not_remembered_as_ended,
    a_complete_status_ends_nothing,
    a_restart_keeps_the_old_load,
    a_hole_is_never_closed,
    a_drained_server_says_nothing,
    a_room_on_two_workers_counts_once,
]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(
    plant: Plant, records: list[Record], view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(view, records)
    assert verify(Held(list(records), rows)).exit_code == VERIFIED
    with monkeypatch.context() as patch:
        plant(patch)
        report = verify(Held(list(records), rows))
    assert report.exit_code == VIOLATION
    first = report.findings.first
    assert first is not None
    assert first.where is not None or "the core cannot fold it" in first.said


def test_the_database_alone_shows_a_bug_that_no_outcome_tells(
    records: list[Record], view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A counter that nothing was decided by yet: the rows differ, every outcome is the same."""
    put = View.put

    def forgets_memory(self: View, row: object) -> None:
        if isinstance(row, view_module.Worker):
            row = view_module.changed(row, memory_bytes=1)
        put(self, row)

    rows = rows_of(view, records)
    monkeypatch.setattr(View, "put", forgets_memory)
    report = verify(Held(list(records), rows))
    assert set(report.findings.counts) == {"rows"}
    assert report.findings.first is not None
    assert str(report.findings.first.where).endswith("memory_bytes")
