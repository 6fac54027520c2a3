"""`ladle audit whatif`: the same demand under another policy or other limits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ladle.commands.audit_source import ArchiveOption, JsonOption, Progress, SourceOption, opened
from ladle.commands.guard import command
from ladle.commands.output import UNREACHABLE, USAGE, fail, print_json
from ladle.commands.whatif_text import print_whatif, whatif_json

if TYPE_CHECKING:
    from ladle.audit.whatif import Report


@command
def whatif(
    policy: Annotated[
        str | None, typer.Option("--policy", metavar="POLICY", help="The policy that would decide.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=VALUE",
            help="A limit that would be other, e.g. cpu_permille_max=700; may be repeated.",
        ),
    ] = None,
    source: SourceOption = None,
    archive: ArchiveOption = None,
    json_: JsonOption = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.png", help="Draw both worlds over time."),
    ] = None,
) -> None:
    """Decide a journal's demand anew under another policy or limits, beside what was.

    Example: ladle audit whatif --policy pack --limit settle_ms=60000 --plot pack.png
    """
    from ladle.audit.replay import Replay
    from ladle.audit.whatif import whatif as run
    from ladle.commands.whatif_limits import limits_of

    other: dict[str, Any] = {**limits_of(limit or [])}
    if policy is not None:
        other["policy"] = _policy(policy)
    if not other:
        fail(USAGE, "nothing would be other", "--policy pack, or --limit cpu_permille_max=700")
    if plot is not None:
        # Before the long work, so that a missing extra costs nobody an hour.
        import matplotlib as _  # noqa: F401
    with opened(source, archive) as log:
        report = run(Replay(log, Progress()), log.name, other)
    if plot is not None:
        _draw(report, plot)
    if json_:
        print_json(whatif_json(report))
    else:
        print_whatif(report)


def _policy(name: str) -> str:
    from ladle.core.policies import POLICIES

    if name not in POLICIES:
        fail(USAGE, f"there is no policy {name}", f"one of {', '.join(POLICIES)}")
    return name


def _draw(report: "Report", path: Path) -> None:
    from ladle.audit.whatif_plot import plot

    try:
        plot(report, path)
    except OSError as error:
        fail(UNREACHABLE, f"cannot write {path}: {error.strerror or error}", "another --plot FILE")
