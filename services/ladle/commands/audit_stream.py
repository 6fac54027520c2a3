"""`ladle audit verify`, `timeline` and `export` of the broker's stream, in place of a journal."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from ladle.commands.audit_source import Progress, fail_audit
from ladle.commands.audit_text import finding_json, print_findings
from ladle.commands.output import NO, fail, many, plain, print_json, show
from ladle_contracts.times import to_rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from ladle.audit.export_rows import Moment
    from ladle.audit.stream_check import StreamReport
    from ladle.audit.stream_export import StreamExport
    from ladle.audit.stream_timeline import Word
    from ladle_contracts.link import Message
    from ladle_contracts.topology import Topology

USAGE, UNREACHABLE = 2, 5
STATUSES = {1: "violation", 4: "incomplete"}


def is_stream(given: str | None, archive: Path | None = None) -> bool:
    """Is the source a broker? An archive beside it is a mistake, and ends the command."""
    from ladle.audit.open import STREAM

    if given is None or not given.startswith(STREAM):
        return False
    if archive is not None:
        refuse("--archive goes with a database, and the broker's stream is none", "leave it out")
    return True


def refuse(said: str, advice: str) -> NoReturn:
    """End with a mistake in the command."""
    fail_audit(USAGE, said, advice)


def verify_stream(url: str, json_: bool) -> NoReturn:
    """Check what can be checked without a journal; exit code 4, or 1 for a violation."""
    from ladle.audit.stream_check import StreamCheck

    topology = _topology(url)
    check = StreamCheck(_name(url, topology), topology)
    _hear(url, topology, check.hear)
    report = check.end()
    if json_:
        print_json(_report_json(report))
    else:
        _print_report(report)
    raise typer.Exit(report.exit_code)


def timeline_stream(url: str, name: str, json_: bool) -> None:
    """What was said of a room or a server; exit 1 where nothing was."""
    from ladle.audit.stream_timeline import StreamTimeline

    topology = _topology(url)
    line = StreamTimeline(topology, name)
    told: list[dict[str, Any]] = []

    def take(position: int, message: "Message") -> None:
        for word in line.hear(position, message):
            told.append(_word_json(word) if json_ else {})
            if not json_:
                _print_word(word, name)

    _hear(url, topology, take)
    if json_:
        print_json({"name": name, "words": told})
    if not told:
        advice = "the stream keeps some days, of one cell; older ones are in the journal"
        fail(NO, f"nothing on the stream is about a room or a server {name}", advice)


def export_stream(
    url: str,
    to: Path,
    format_: str,
    *,
    room: str | None,
    server: str | None,
    begin: "Moment | None",
    end: "Moment | None",
    json_: bool,
) -> None:
    """Write what was said to files of CloudEvents, with a manifest."""
    from ladle.audit.export import ExportRefused
    from ladle.audit.stream_export import StreamExport, WantedWords

    if format_ != "cloudevents":
        refuse(
            f"{format_} is for records, and the broker's stream holds events",
            "say --format cloudevents",
        )
    topology = _topology(url)
    try:
        out = StreamExport(to, topology, WantedWords(room, server, begin, end))
    except ExportRefused as error:
        refuse(str(error), "name a new folder: an export never writes over anything")
    except OSError as error:
        fail_audit(UNREACHABLE, f"{to}: {error.strerror}", "name a folder that may be written to")
    manifest = _exported(url, topology, out)
    if json_:
        print_json(manifest)
        return
    files = len(manifest["files"])
    show(
        f"{many(manifest['rows'], 'event')} in {many(files, 'file')} and a manifest in "
        f"{plain(str(to))}"
    )
    if manifest["refused"]:
        count = sum(manifest["refused"].values())
        show(f"{many(count, 'message')} left out that the contract refuses", markup=False)


def _exported(url: str, topology: "Topology", out: "StreamExport") -> dict[str, Any]:
    try:
        _hear(url, topology, out.hear)
        return out.finish()
    except OSError as error:
        fail_audit(UNREACHABLE, f"{out.folder}: {error.strerror}", "is the disk full?")
    finally:
        out.abandon()


def _topology(url: str) -> "Topology":
    from pydantic import SecretStr

    from ladle_contracts.settings import ClientSettings
    from ladle_contracts.topology import Topology

    return Topology(ClientSettings(amqp_url=SecretStr(url)).cell)


def _name(url: str, topology: "Topology") -> str:
    """For people, without a password."""
    from yarl import URL

    try:
        return f"{topology.log} at {URL(url).with_user(None).with_query(None)}"
    except ValueError as error:
        refuse(f"--source is no broker's URL: {error}", "for example amqp://user@host:5672/vhost")


def _hear(url: str, topology: "Topology", take: "Callable[[int, Message], None]") -> None:
    """Read all of it; what keeps it from being read ends the command."""
    from pydantic import SecretStr

    from ladle.audit.errors import SourceError
    from ladle.audit.listening import hear
    from ladle_contracts.settings import ClientSettings

    _name(url, topology)
    settings = ClientSettings(amqp_url=SecretStr(url))
    progress, count = Progress("messages"), 0

    def counted(position: int, message: "Message") -> None:
        nonlocal count
        count += 1
        take(position, message)
        progress(count, None)

    try:
        hear(settings.url, topology, counted, settings.ssl_context())
    except SourceError as error:
        fail_audit(error.exit_code, error.said, error.advice)


def _report_json(report: "StreamReport") -> dict[str, Any]:
    first = report.findings.first
    return {
        "status": STATUSES[report.exit_code],
        "source": report.source,
        "messages": report.messages,
        "positions": {"first": report.first, "last": report.last},
        "events": report.events,
        "lives": report.lives,
        "own_events": report.own,
        "copies": report.copies,
        "refused": dict(sorted(report.refused.items())),
        "violations": {
            "count": report.findings.count,
            "by_law": {str(law): count for law, count in sorted(report.findings.counts.items())},
            "first": None if first is None else finding_json(first),
        },
        "missing": report.missing,
        "unchecked": report.unchecked,
        "seconds": round(report.seconds, 3),
    }


def _print_report(report: "StreamReport") -> None:
    where = "" if report.first is None else f", positions {report.first:,} to {report.last:,}"
    lines = [
        f"source    {report.source}",
        f"messages  {report.messages:,}{where}",
        f"servers   {many(report.events, 'event')} in {many(report.lives, 'numbered life')}",
        f"own       {many(report.own, 'event')} of Ladle, ascending",
        f"copies    {report.copies:,}, the same word for word",
    ]
    if report.refused:
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(report.refused.items()))
        lines.append(f"refused   {sum(report.refused.values()):,} by the contract: {reasons}")
    lines += [f"not checked: {said}" for said in report.unchecked]
    lines += [f"missing: {said}" for said in report.missing]
    for line in lines:
        show(line, markup=False)
    print_findings(report.findings)
    show(
        "VIOLATION: this is not what Ladle and its servers say"
        if report.exit_code == 1
        else "INCOMPLETE: nothing wrong was heard; what Ladle decided, only its journal can prove",
        markup=False,
    )


def _word_json(word: "Word") -> dict[str, Any]:
    return {
        "position": word.position,
        "said_at": None if word.time_ms is None else to_rfc3339(word.time_ms),
        "what": word.what,
        "by": word.by,
        "identity": word.identity,
        "room_id": word.room_id,
        "reason": word.reason,
        "copy": word.is_copy,
        "told": word.told,
    }


def _print_word(word: "Word", name: str) -> None:
    """Time, position, what was said and by whom; what it says on a line of its own."""
    time_ = "no time" if word.time_ms is None else to_rfc3339(word.time_ms)
    room = f" of room {word.room_id}" if word.room_id not in (None, name) else ""
    reason = f" ({word.reason})" if word.reason else ""
    again = ", again" if word.is_copy else ""
    by = f"by {word.by}" if word.by else "by Ladle"
    show(
        f"{time_:<24}  {word.position:>8}  {word.what}{room} {by}{reason}{again}: {word.identity}",
        markup=False,
    )
    told = ", ".join(f"{field} {_plain(value)}" for field, value in word.told.items())
    if told:
        show(f"{'':36}{told}", markup=False)


def _plain(value: Any) -> str:
    return "-" if value is None else str(value)
