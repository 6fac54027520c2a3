"""What an audit says, for people and for programs."""

import json
from typing import TYPE_CHECKING, Any

from ladle.commands.output import advise, show
from ladle_contracts.times import to_rfc3339

if TYPE_CHECKING:
    from ladle.audit.changes import Change
    from ladle.audit.finding import Finding, Findings
    from ladle.audit.timeline import Happening
    from ladle.audit.verify import Report

VALUE_MAX = 400
"""Characters of a value that are shown; --json has all of it."""

ADVICE = {
    1: "look at the first difference, and compare with another copy of the journal",
    4: "get what is missing from another copy, or export it again, and verify once more",
}
"""What to do behind a verdict, by exit code."""

STATUSES = {0: "verified", 1: "violation", 4: "incomplete"}


def report_json(report: "Report") -> dict[str, Any]:
    """The whole report; times in RFC 3339."""
    first = report.findings.first
    advice = ADVICE.get(report.exit_code)
    return {
        "status": STATUSES[report.exit_code],
        **({} if advice is None else {"advice": advice}),
        "source": report.source,
        "records": report.records,
        "head": {
            "offset": report.head.offset,
            "hash": report.head.hash,
            "recorded_at": to_rfc3339(report.head.recorded_at_ms) if report.records else None,
        },
        "derived": report.derived,
        "erased": report.erased,
        "rows": report.rows,
        "snapshots": report.snapshots,
        "segments": report.segments,
        "heard": report.heard,
        "violations": {
            "count": report.findings.count,
            "by_law": {str(law): count for law, count in sorted(report.findings.counts.items())},
            "first": None if first is None else finding_json(first),
        },
        "missing": {
            "records": report.gaps.records,
            "ranges": [list(gap) for gap in report.gaps.ranges],
            "said": report.missing,
        },
        "unchecked": report.unchecked,
        "seconds": round(report.seconds, 3),
        "records_per_second": round(report.records / report.seconds) if report.seconds else None,
    }


def finding_json(finding: "Finding") -> dict[str, Any]:
    """One difference."""
    return {
        "law": str(finding.law),
        "offset": finding.offset,
        "said": finding.said,
        "where": finding.where,
        "recorded": finding.recorded,
        "derived": finding.derived,
    }


def print_report(report: "Report") -> None:
    """What was held, was not checked, is missing, does not hold; then the verdict."""
    head = report.head
    show(f"source    {report.source}", markup=False)
    newest = f"{head.offset:,} of {to_rfc3339(head.recorded_at_ms)}"
    records = f"{report.records:,}, the last is {newest}" if report.records else "none"
    show(f"records   {records}", markup=False)
    if report.records:
        show(f"head      {head.hash or 'not known'}", markup=False)
    show(f"outcomes  {report.derived:,} derived again and compared byte for byte", markup=False)
    rows = "none beside the log" if report.rows is None else f"{report.rows:,} compared"
    show(f"rows      {rows}", markup=False)
    if report.snapshots:
        show(f"snapshots {report.snapshots:,} compared", markup=False)
    if report.segments:
        show(f"segments  {report.segments:,} of the archive are the anchored ones", markup=False)
    if report.heard is not None:
        show(f"stream    {report.heard:,} events are on the broker's stream as well", markup=False)
    for said in report.unchecked:
        show(f"not checked: {said}", markup=False)
    for first, last in report.gaps.ranges:
        which = f"record {first} is" if first == last else f"records {first} to {last} are"
        show(f"missing: {which} not there", markup=False)
    for said in report.missing:
        show(f"missing: {said}", markup=False)
    print_findings(report.findings)
    show(_verdict(report), markup=False)
    if report.exit_code in ADVICE:
        advise(ADVICE[report.exit_code])


def print_findings(findings: "Findings") -> None:
    """The first difference with both sides, and how many there are under each law."""
    first = findings.first
    if first is None:
        return
    place = "" if first.offset is None else f"record {first.offset}: "
    show(f"first difference: {place}{first.said} (law: {first.law})", markup=False)
    if first.where is not None:
        show(f"  where      {first.where}", markup=False)
        show(f"  stands     {_value(first.recorded)}", markup=False)
        show(f"  should be  {_value(first.derived)}", markup=False)
    counted = ", ".join(f"{law} {count}" for law, count in sorted(findings.counts.items()))
    show(f"differences in all: {findings.count} ({counted})", markup=False)


def _verdict(report: "Report") -> str:
    if report.exit_code == 1:
        return "VIOLATION: this is not what was written, or not what the core comes to"
    if report.exit_code == 4:
        return "INCOMPLETE: what is there holds, but records are missing; get them and verify again"
    return "verified" if not report.unchecked else "verified, as far as it could be checked"


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_MAX else f"{text[:VALUE_MAX]}... (--json has all of it)"


def change_json(change: "Change") -> dict[str, Any]:
    """One row that differs."""
    return {
        "table": change.table,
        "key": list(change.key),
        "before": change.before,
        "after": change.after,
    }


def print_change(change: "Change") -> None:
    """`~ room standup: phase "held" -> "active"`; + for a new row, - for one that is gone."""
    name = f"{change.table} {' '.join(map(str, change.key))}"
    if change.before is None:
        show(f"+ {name}", markup=False)
    elif change.after is None:
        show(f"- {name}", markup=False)
    else:
        columns = ", ".join(
            f"{column} {_value(before)} -> {_value((change.after)[column])}"
            for column, before in change.before.items()
        )
        show(f"~ {name}: {columns}", markup=False)


def happening_json(happening: "Happening") -> dict[str, Any]:
    """One record of a timeline."""
    return {
        "offset": happening.offset,
        "recorded_at": to_rfc3339(happening.recorded_at_ms),
        "what": happening.what,
        "by": happening.by,
        "room_id": happening.room_id,
        "server_id": happening.server_id,
        "status": happening.status,
        "reason": happening.reason,
        "changed": happening.changed,
        "said": happening.said,
    }


def print_happening(happening: "Happening", name: str) -> None:
    """Time, record, who did what, what came of it; what it changed on lines of their own.

    name: what the timeline is of, which need not be told again.
    """
    by = f" by {happening.by}" if happening.by else ""
    room = f" of room {happening.room_id}" if happening.room_id not in (None, name) else ""
    reason = f" ({happening.reason})" if happening.reason else ""
    said = f"; Ladle said {', '.join(happening.said)}" if happening.said else ""
    show(
        f"{to_rfc3339(happening.recorded_at_ms)}  {happening.offset:>8}  "
        f"{happening.what}{room}{by}: {happening.status}{reason}{said}",
        markup=False,
    )
    for field, (before, after) in happening.changed.items():
        show(f"{'':36}{field}: {_plain(before)} -> {_plain(after)}", markup=False)


def _plain(value: Any) -> str:
    return "-" if value is None or value == "" else str(value)
