"""Draws the results of run.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
mpl.rcParams["svg.hashsalt"] = "copier-sqlmodel"  # the same figures give the same file

from matplotlib import pyplot  # noqa: E402

SECONDS = [0.5, 1, 2, 5, 10, 20]
Sizes = Sequence[tuple[int, int, Mapping[str, float]]]


def plot(sizes: Sizes, measures: Mapping[str, str], path: Path) -> None:
    """Two panels, by tables and by revisions: ours as lines, plain Alembic's dashed."""
    panels = [
        ("tables (one revision)", [(t, s) for t, r, s in sizes if r == 1]),
        ("revisions (10 tables)", [(r, s) for _, r, s in sizes if r > 1]),
    ]
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
    theirs = list(dict.fromkeys(measures.values()))
    for axis, (label, points) in zip(axes, panels, strict=True):
        for name in [*measures, *theirs]:
            style = "--" if name in theirs else "-"
            legend = f"alembic {name}" if name in theirs else f"just {name}"
            x, y = [size for size, _ in points], [seconds[name] for _, seconds in points]
            axis.plot(x, y, style, marker="o", markersize=3, label=legend)
        axis.set(xlabel=label, xscale="log", xticks=x, xticklabels=x)
        axis.set(yscale="log", yticks=SECONDS, yticklabels=SECONDS)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("seconds")
    axes[0].legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
