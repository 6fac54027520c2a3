"""A picture of two worlds over time, as a PNG."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ladle.audit.whatif import Report
from ladle.audit.whatif_figures import Sample

WAS, WOULD = "#6b7280", "#d9480f"
"""Grey for what was, orange for what would have been: told apart without seeing colours."""
INCHES = (10.0, 9.0)
CODES_MAX = 6


def plot(report: Report, path: Path) -> None:
    """Write the picture. Raises OSError where it cannot be written."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, dpi=110, layout="constrained")
    axes = figure.subplots(4, 1, height_ratios=(3, 3, 2, 3))
    was, would = (limits.policy for limits in report.limits)
    figure.suptitle(f"What was ({was}) and what would have been ({would})", fontsize=13)
    _over_time(report, axes[0], "imbalance", "imbalance of the workers")
    _over_time(report, axes[1], "fullest", "fullest worker")
    _over_time(report, axes[2], "mean", "mean of the workers")
    for axis in axes[1:3]:
        axis.sharex(axes[0])
    lines, labels = axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=2, frameon=False)
    _counts(report, axes[3])
    figure.savefig(path, format="png")


def _over_time(report: Report, axis: Any, name: str, title: str) -> None:
    """Steps: each bucket holds to its end."""
    from matplotlib import dates as typed_in_part

    dates: Any = typed_in_part
    rows = list(report.over_time.rows())
    place = Sample._fields.index(name)
    edges = [ms for ms, _, _ in rows] + [report.to_ms]
    times = [datetime.fromtimestamp(ms / 1000, UTC) for ms in edges]
    worlds = ([was for _, was, _ in rows], [would for _, _, would in rows])
    for samples, color, label, style in (
        (worlds[0], WAS, "what was", "-"),
        (worlds[1], WOULD, "what would have been", "--"),
    ):
        values = [sample[place] / 10 for sample in samples]
        axis.step(times, [*values, *values[-1:]], style, color=color, label=label, where="post")
    locator = dates.AutoDateLocator(tz=UTC)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=UTC))
    axis.set_title(f"{title}, % of capacity", loc="left", fontsize=10)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _counts(report: Report, axis: Any) -> None:
    """Bars: homes given, moves, refusals by code."""
    was, would = report.counts
    codes = [code for code, _ in (was.refusals + would.refusals).most_common(CODES_MAX)]
    names = ["placed", "moved", *[f"refused:\n{code}" for code in codes]]
    pairs = [
        (was.placed, would.placed),
        (was.moves, would.moves),
        *[(was.refusals[code], would.refusals[code]) for code in codes],
    ]
    for side, color in ((0, WAS), (1, WOULD)):
        at = [number + (side - 0.5) * 0.38 for number in range(len(pairs))]
        bars = axis.bar(at, [pair[side] for pair in pairs], 0.36, color=color)
        axis.bar_label(bars, fmt="{:,.0f}", fontsize=8, padding=1)
    axis.set_xticks(range(len(names)), names, fontsize=8)
    axis.set_title(
        "homes given, rooms moved, requests refused (logarithmic)", loc="left", fontsize=10
    )
    axis.get_yaxis().set_visible(False)
    axis.set_yscale("symlog", linthresh=10)
    axis.margins(y=0.2)
    axis.spines[["top", "right", "left"]].set_visible(False)
