"""`ladle explain ROOM --why-not SERVER`, from a journal and not from the service."""

from pathlib import Path

from ladle.commands.audit_source import Progress, opened
from ladle.commands.output import NO, fail, hanging, out, print_json, show
from ladle_contracts.times import to_rfc3339

NAMES_SHOWN = 20


def explain_why_not(
    room: str,
    server: str,
    generation: int | None,
    source: str | None,
    archive: Path | None,
    json_: bool,
) -> None:
    """Print the sentences; exit 1 where there is no such decision or server."""
    from ladle.audit.why_not import NoDecision, NoServer, why_not

    with opened(source, archive) as log:
        try:
            found = why_not(log, room, server, generation=generation, progress=Progress())
        except NoDecision:
            which = "" if generation is None else f" of generation {generation}"
            fail(NO, f"{log.name} holds no decision for room {room}{which}")
        except NoServer as error:
            names = error.servers[:NAMES_SHOWN]
            more = len(error.servers) - len(names)
            there = ", ".join(names) + (f" and {more} more" if more else "")
            fail(
                NO,
                f"no server {server} was registered before record {error.offset}",
                f"there were {there}" if there else "there was none at all",
                error={"code": "unknown-server"},
            )
    if json_:
        print_json(
            {
                "room_id": room,
                "server_id": server,
                "offset": found.offset,
                "recorded_at": to_rfc3339(found.recorded_at_ms),
                "lines": found.lines,
                "decision": found.decision,
                "pinned": found.pinned,
            }
        )
        return
    operation = found.decision["operation"]
    time_ = to_rfc3339(found.recorded_at_ms)
    for line in (f"{time_}: record {found.offset} decided to {operation} {room}.", *found.lines):
        show(hanging(line, out.width) if out.is_terminal else line, markup=False)
