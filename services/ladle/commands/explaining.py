"""`ladle explain ROOM --source ... --archive ...`: from a journal and not from the service."""

import asyncio
from pathlib import Path

from ladle.commands.audit_source import Progress, opened
from ladle.commands.output import NO, fail, hanging, out, print_json, show


def explain_from(
    room: str, generation: int | None, source: str | None, archive: Path | None, json_: bool
) -> None:
    """Print the sentences; exit 1 where the log tells of no such home."""
    from ladle.audit.room_log import RoomLog
    from ladle.journal.explain import explanation
    from ladle.placement.journal_answers import decision_line

    with opened(source, archive) as log:
        told, name = RoomLog(log, room, Progress()), log.name
    found = asyncio.run(explanation(told, room, generation=generation))
    if found is None:
        which = "" if generation is None else f" of generation {generation}"
        advice = (
            f"records up to {told.archived} are in an archive: give its folder with --archive"
            if told.archived
            else "`ladle audit timeline` tells all that the log has of a room"
        )
        fail(NO, f"{name} holds no decision for room {room}{which}", advice,
             error={"code": "unknown-room"})  # fmt: skip
    if json_:
        head = {"status": "ok", "room_id": room, "generation": found.generation}
        print_json({**head, "lines": list(found.lines), "decided": decision_line(found.record)})
        return
    for line in found.lines:
        show(hanging(line, out.width) if out.is_terminal else line, markup=False)
