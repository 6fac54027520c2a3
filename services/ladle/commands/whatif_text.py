"""What `ladle audit whatif` says, for people and for programs."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ladle.commands.output import many, show
from ladle_contracts.times import to_rfc3339

if TYPE_CHECKING:
    from ladle.audit.whatif import Report
    from ladle.audit.whatif_figures import Place, Sample

PEAKS_SHOWN = 10
ROWS_SHOWN = 12


def whatif_json(report: "Report") -> dict[str, Any]:
    """All of it; loads in consumers, fills in permille of capacity, times in RFC 3339."""
    was, would = report.over_time.whole()
    return {
        "source": report.source,
        "records": report.records,
        "from": to_rfc3339(report.from_ms) if report.records else None,
        "to": to_rfc3339(report.to_ms) if report.records else None,
        "was": _world(report, 0, was),
        "would": _world(report, 1, would),
        "decided_in_both": report.decided,
        "elsewhere": report.elsewhere,
        "peaks": [
            {
                "server_id": place[0],
                "worker_id": place[1],
                "capacity": report.peaks.of[place].capacity,
                "was": report.peaks.of[place].used[0],
                "would": report.peaks.of[place].used[1],
            }
            for place in sorted(report.peaks.of, key=_by_name)
        ],
        "over_time": {
            "bucket_ms": report.over_time.width_ms,
            "buckets": [
                {"from": to_rfc3339(at), "was": first._asdict(), "would": second._asdict()}
                for at, first, second in report.over_time.rows()
            ],
        },
        "assumed": {
            "left_out": report.left_out,
            "asked_again": report.asked_again,
            "found_nothing": report.found_nothing,
        },
    }


def _world(report: "Report", side: int, means: "Sample") -> dict[str, Any]:
    counts = report.counts[side]
    return {
        "policy": report.limits[side].policy,
        "limits": _differing(report, side),
        "requests": counts.requests,
        "placed": counts.placed,
        "moves": counts.moves,
        "refused": sum(counts.refusals.values()),
        "refusals": dict(sorted(counts.refusals.items())),
        "mean": means._asdict(),
    }


def _differing(report: "Report", side: int) -> dict[str, Any]:
    """Limits of one world that are not those of the other."""
    mine, other = (asdict(report.limits[place]) for place in (side, 1 - side))
    return {name: value for name, value in mine.items() if value != other[name]}


def _by_name(place: "Place") -> tuple[str, str]:
    return place[0], place[1] or ""


def print_whatif(report: "Report") -> None:
    """The figures side by side, then over time, then the workers whose peaks differ most."""
    begin, end = to_rfc3339(report.from_ms), to_rfc3339(report.to_ms)
    span = f" from {begin} to {end}" if report.records else ""
    show(f"{report.source}: {many(report.records, 'record')}{span}", markup=False)
    for side, label in enumerate(("what was", "what would have been")):
        other = [f"{k}={v}" for k, v in _differing(report, side).items() if k != "policy"]
        policy = report.limits[side].policy
        show(f"{label}: {policy}{' with ' if other else ''}{', '.join(other)}", markup=False)
    show(_figures(report))
    show(_over_time(report))
    show(_peaks(report))
    show(
        f"of {many(report.decided, 'decision')} that found a home in both worlds, "
        f"{report.elsewhere:,} chose another worker",
        markup=False,
    )
    for said in _assumed(report):
        show(said, markup=False)


def _figures(report: "Report") -> Table:
    was, would = report.counts
    first, second = report.over_time.whole()
    table = _table("", "what was", "would have been")
    _line(table, "requests answered", was.requests, would.requests)
    _line(table, "given a home", was.placed, would.placed)
    _line(table, "rooms moved", was.moves, would.moves)
    _line(table, "refused", sum(was.refusals.values()), sum(would.refusals.values()))
    for code in sorted(was.refusals | would.refusals):
        _line(table, f"  {code}", was.refusals[code], would.refusals[code])
    _line(table, "consumers in use, mean", first.used, second.used)
    _line(table, "workers without load, mean", first.empty, second.empty)
    for label, name in (("fill, mean", "mean"), ("imbalance, mean", "imbalance")):
        table.add_row(label, _percent(getattr(first, name)), _percent(getattr(second, name)))
    table.add_row("fullest worker, highest", _percent(first.fullest), _percent(second.fullest))
    return table


def _over_time(report: "Report") -> Table:
    """As many rows as can be read; --json has all."""
    rows = list(report.over_time.rows())
    table = _table("from", "imbalance was", "would", "fullest was", "would")
    each = max(1, -(-len(rows) // ROWS_SHOWN))
    for at, was, would in rows[::each]:
        fills: Sequence[int] = (was.imbalance, would.imbalance, was.fullest, would.fullest)
        table.add_row(to_rfc3339(at), *map(_percent, fills))
    return table


def _peaks(report: "Report") -> Table:
    """The workers whose peaks differ most."""
    peaks = report.peaks.of
    table = _table("peak of worker", "was", "would", "of")
    places = sorted(
        peaks,
        key=lambda place: (-abs(peaks[place].used[0] - peaks[place].used[1]), _by_name(place)),
    )
    for place in places[:PEAKS_SHOWN]:
        was, would = peaks[place].used
        name = place[0] if place[1] is None else f"{place[0]}/{place[1]}"
        table.add_row(name, f"{was:,}", f"{would:,}", f"{peaks[place].capacity:,}")
    if len(places) > PEAKS_SHOWN:
        table.add_row(f"{len(places) - PEAKS_SHOWN:,} more", "", "", "")
    return table


def _assumed(report: "Report") -> list[str]:
    said = []
    if report.left_out:
        said.append(
            f"left out of the alternative, where they have no home: {many(report.left_out, 'room')}"
            " that lived"
        )
    if report.asked_again:
        said.append(
            f"{many(report.asked_again, 'time')} a room lost its home in the alternative alone, "
            "and was asked for again"
        )
    if report.found_nothing:
        said.append(f"{many(report.found_nothing, 'time')} such a room found no other home")
    return said


def _table(*names: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bright_black")
    for number, name in enumerate(names):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    return table


def _line(table: Table, label: str, was: int, would: int) -> None:
    table.add_row(label, f"{was:,}", f"{would:,}")


def _percent(permille: int) -> str:
    return f"{permille // 10}.{permille % 10} %"
