"""`ladle audit export`, `keygen`, `checkpoint` and `consistency`: what leaves the house."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ladle.commands.audit_source import (
    ArchiveOption,
    JsonOption,
    Progress,
    SourceOption,
    cell_of,
    fail_audit,
    opened,
    records_of,
)
from ladle.commands.audit_stream import export_stream, is_stream, refuse
from ladle.commands.guard import command
from ladle.commands.output import plain, print_json, show

if TYPE_CHECKING:
    from ladle.audit.checkpoint import Checkpoint, Consistency
    from ladle.audit.export_rows import Moment, Wanted
    from ladle.audit.notes import SigningKey, VerifierKey
    from ladle.audit.source import Source
    from ladle.journal.store import Head

GAPS_TOLD = 20
"""More gaps of a journal are only counted, and stand in the manifest."""

VIOLATION, USAGE, UNREADABLE, INCOMPLETE, UNREACHABLE = 1, 2, 3, 4, 5


@command
def export(
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="A new or empty folder.")],
    format_: Annotated[
        Literal["jsonl", "csv", "parquet", "cloudevents"], typer.Option("--format")
    ] = "jsonl",
    room: Annotated[str | None, typer.Option(help="Only records about this room.")] = None,
    server: Annotated[str | None, typer.Option(help="Only records about this server.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only this kind (request, event, ...); repeatable.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="WHEN", help="An offset or a time, inclusive.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="An offset or a time, inclusive.")
    ] = None,
    redact: Annotated[
        bool, typer.Option("--redact", help="Leave content out; the chain still verifies.")
    ] = False,
    source: SourceOption = None,
    archive: ArchiveOption = None,
    json_: JsonOption = False,
) -> None:
    """Write the journal's records to files, with a manifest that vouches for them.

    Of a broker's stream (amqp://...): what was said, with --format cloudevents.

    Example: ladle audit export --format parquet --to march --from 2026-03-01T00:00:00Z
    """
    from ladle.audit.export_rows import Wanted

    if source is not None and is_stream(source, archive):
        if kind or redact:
            refuse("--kind and --redact are for records", "leave them out: the stream has none")
        bounds = {"begin": _moment(from_), "end": _moment(until)}
        export_stream(source, to, format_, room=room, server=server, **bounds, json_=json_)
        return
    wanted = Wanted(room, server, _kinds(kind), _moment(from_), _moment(until))
    manifest = _export(source, archive, to, format_, wanted, redact)
    if json_:
        print_json(manifest)
    else:
        _tell_export(manifest, to)
    if manifest["gaps"]:
        raise typer.Exit(INCOMPLETE)


def _tell_export(manifest: dict[str, Any], to: Path) -> None:
    head, files = manifest["head"], len(manifest["files"])
    show(
        f"{manifest['rows']:,} records in {files} file{'' if files == 1 else 's'} and a manifest "
        f"in {plain(str(to))}{', without content' if manifest['redacted'] else ''}"
    )
    show(f"the journal ends at {head['offset']} with {head['hash']}")
    if manifest["goes_on"] is None:
        show("not known: whether the journal goes on behind that; the source does not tell")
    if manifest["gaps"]:
        gaps = manifest["gaps"]
        ranges = ", ".join(f"{a} to {b}" if b > a else str(a) for a, b in gaps[:GAPS_TOLD])
        more = f" and {len(gaps) - GAPS_TOLD} ranges more" if len(gaps) > GAPS_TOLD else ""
        show(
            f"INCOMPLETE: the source does not have records {ranges}{more}; get them (an archived "
            "beginning with --archive), and export again"
        )


@command
def keygen(
    file: Annotated[Path, typer.Argument(help="A new file for the private key.")],
    name: Annotated[
        str, typer.Option(help="What the checkpoints are of, for example ladle.example.org/eu.")
    ],
    json_: JsonOption = False,
) -> None:
    """Make a key that signs checkpoints, and print the verifier key that others need.

    Example: ladle audit keygen ladle.key --name ladle.example.org/eu
    """
    from ladle.audit.notes import BadKey, SigningKey

    try:
        key = SigningKey.generate(name)
        key.write(file)
    except BadKey as error:
        fail_audit(USAGE, str(error), "a name such as ladle.example.org/eu, without spaces or plus")
    except FileExistsError:
        fail_audit(USAGE, f"{file} is there already", "a key is never written over: name a new one")
    except OSError as error:
        advice = "name a file in a folder that may be written to"
        fail_audit(UNREACHABLE, f"{file}: {error.strerror}", advice)
    if json_:
        print_json({"verifier_key": str(key.verifier), "file": str(file)})
    else:
        show(str(key.verifier), markup=False)


@command
def checkpoint(
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="As `keygen` made it.")],
    source: SourceOption = None,
    archive: ArchiveOption = None,
    json_: JsonOption = False,
) -> None:
    """Sign the journal's head: keep the note where the journal's keeper cannot change it.

    Example: ladle audit checkpoint --key ladle.key > 2026-11-22.checkpoint
    """
    from ladle.audit.checkpoint import sign

    signing = _signing_key(key)
    with opened(source, archive) as found:
        cell = cell_of(found, refuse_other=True)
        head = _head(found)
    note = sign(head, signing)
    if json_:
        read = {"origin": signing.name, "cell": cell, "offset": head.offset, "hash": head.hash}
        print_json({**read, "note": note})
    else:
        typer.echo(note, nl=False)


@command
def consistency(
    old: Annotated[Path, typer.Argument(help="The checkpoint from before.")],
    new: Annotated[
        Path | None, typer.Argument(help="A later one; the journal as it is if not given.")
    ] = None,
    key: Annotated[
        str, typer.Option("--key", metavar="KEY", help="The verifier key, or a file with it.")
    ] = "",
    source: SourceOption = None,
    archive: ArchiveOption = None,
    json_: JsonOption = False,
) -> None:
    """Show that the journal only grew: what an old checkpoint saw is still there, unchanged.

    The chain is followed from the first record on: an archived beginning is needed too (--archive).

    Example: ladle audit consistency 2026-11-22.checkpoint --key ladle.pub --source export/
    """
    from ladle.audit.checkpoint import Checkpoint, Consistency

    verifier = verifier_key(key)
    before = checkpoint_in(old, verifier)
    with opened(source, archive) as found:
        _refuse_without_beginning(found)
        if new is not None:
            after = checkpoint_in(new, verifier)
        else:
            head = _head(found)
            after = Checkpoint(before.origin, max(head.offset, 0), head.hash)
            if head.offset < before.offset:
                _cut_off(before, head.offset)
        check = Consistency(before, after)
        _follow(found, check)
    _tell(check, json_)


def _export(
    given: str | None,
    archive: Path | None,
    to: Path,
    format_: str,
    wanted: "Wanted",
    redact: bool,
) -> dict[str, Any]:
    from ladle.audit.export import Export, ExportRefused

    progress = Progress()
    with opened(given, archive) as source:
        _refuse_archived(source, wanted)
        claim, cell = source.claim(), cell_of(source)
        try:
            out = Export(to, format_=format_, wanted=wanted, redact=redact, cell=cell, claim=claim)
        except ExportRefused as error:
            fail_audit(USAGE, str(error), "name a new folder: an export never writes over anything")
        except OSError as error:
            advice = "name a folder that may be written to"
            fail_audit(UNREACHABLE, f"{to}: {error.strerror}", advice)
        try:
            head, read = _first(source), 0
            for page in source.pages(wanted.first_offset() - 1):
                records = records_of(page)
                out.add(records)
                if records:
                    head = _later(head, records[-1])
                    read += len(records)
                    progress(read, source.share_read(head.offset))
                    if wanted.is_past(records[-1]):
                        break
            return out.finish(head)
        except OSError as error:
            fail_audit(UNREACHABLE, f"{to}: {error.strerror}", "is the disk full?")
        finally:
            out.abandon()


def _refuse_archived(source: "Source", wanted: "Wanted") -> None:
    """An export that leaves out what it should have is worse than none."""
    archived = source.claim().archived
    if wanted.first_offset() <= archived:
        fail_audit(
            INCOMPLETE,
            f"records 1 to {archived} are in an archive",
            f"give its folder with --archive, or begin behind them: --from {archived + 1}",
        )


def _refuse_without_beginning(source: "Source") -> None:
    """What a checkpoint signs is proved by hashing all that leads to it."""
    archived = source.claim().archived
    if archived:
        fail_audit(
            INCOMPLETE,
            f"records 1 to {archived} are in an archive, and what a checkpoint signs is proved "
            "from the first record on",
            "give the archive's folder with --archive",
        )


def _first(source: "Source") -> "Head":
    from ladle.journal.store import Head

    claim = source.claim()
    return Head(claim.after_offset, claim.after_hash, 0)


def _later(head: "Head", record: Any) -> "Head":
    from ladle.journal.store import Head

    if record.offset <= head.offset:
        return head
    return Head(record.offset, record.hash, record.recorded_at_ms)


def _head(source: "Source") -> "Head":
    """The last record, as the source claims it, else by reading all of it."""
    claimed = source.claim().head
    if claimed is not None:
        return claimed
    head, progress = _first(source), Progress()
    for page in source.pages():
        for record in records_of(page):
            head = _later(head, record)
        progress(head.offset, source.share_read(head.offset))
    return head


def _follow(source: "Source", check: "Consistency") -> None:
    progress = Progress()
    for page in source.pages():
        check.add(records_of(page))
        progress(check.records, source.share_read(check.reached))
        if check.is_over:
            return


def _tell(check: "Consistency", json_: bool) -> None:
    found = check.found
    if found is not None and found.missing:
        fail_audit(
            INCOMPLETE,
            f"record {found.offset}: {found.said}, and the chain is proved from the first one on",
            "give the whole journal, or a complete export of it",
        )
    if found is not None:
        fail_audit(
            VIOLATION,
            f"record {found.offset}: {found.said}",
            "the journal is not the one that was signed: keep both checkpoints and a copy of it",
        )
    if not check.holds:
        _cut_off(check.new, check.reached)
    if json_:
        said = {"status": "ok", "old": check.old.as_dict(), "new": check.new.as_dict()}
        print_json({**said, "records": check.records})
    else:
        show(
            f"{check.old.origin}: the journal grew from {check.old.offset} to {check.new.offset} "
            f"and nothing before was changed ({check.records:,} records followed)"
        )


def _cut_off(wanted: "Checkpoint", reached: int) -> None:
    fail_audit(
        INCOMPLETE,
        f"the source ends at record {reached}, before the checkpoint at {wanted.offset}",
        "get the rest of it; a database that once had more was restored from a backup",
    )


def _kinds(names: list[str] | None) -> tuple[str, ...]:
    from ladle.core.record import Kind

    for name in names or ():
        if name not in set(Kind):
            fail_audit(USAGE, f"no record is of kind {name}", f"one of {', '.join(Kind)}")
    return tuple(names or ())


def _moment(text: str | None) -> "Moment | None":
    from ladle.audit.export_rows import Moment

    try:
        return None if text is None else Moment.parse(text)
    except ValueError as error:
        fail_audit(USAGE, str(error), "for example 1234 or 2026-11-22T09:00:00Z")


def _signing_key(path: Path) -> "SigningKey":
    from ladle.audit.notes import BadKey, SigningKey

    try:
        return SigningKey.parse(_text(path))
    except BadKey as error:
        fail_audit(USAGE, f"{path}: {error}", "make one: `ladle audit keygen`")


def verifier_key(given: str) -> "VerifierKey":
    """A key as text has its name and id before two plus signs; anything else is a path."""
    from ladle.audit.notes import BadKey, VerifierKey

    if not given:
        fail_audit(USAGE, "whose signature counts?", "give the verifier key with --key")
    text = given if given.count("+") >= 2 and not Path(given).exists() else _text(Path(given))
    try:
        return VerifierKey.parse(text)
    except BadKey as error:
        fail_audit(USAGE, f"--key: {error}", "it is what `ladle audit keygen` printed")


def checkpoint_in(path: Path, key: "VerifierKey") -> "Checkpoint":
    from ladle.audit.checkpoint import read
    from ladle.audit.notes import BadNote, NotSigned

    try:
        return read(_text(path), [key])
    except NotSigned as error:
        fail_audit(VIOLATION, f"{path}: {error}", "is it the right verifier key?")
    except BadNote as error:
        fail_audit(VIOLATION, f"{path}: {error}", "get the checkpoint from whoever keeps it")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        fail_audit(UNREACHABLE, f"{path}: {error.strerror}", "check path and rights")
    except UnicodeDecodeError:
        advice = "give the file that `ladle audit keygen` or `checkpoint` printed or wrote"
        fail_audit(UNREADABLE, f"{path} is not text", advice)
