"""Draws the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
mpl.rcParams["svg.hashsalt"] = "copier-sqlmodel"  # the same figures give the same file

from matplotlib import pyplot  # noqa: E402

SECONDS = [0.5, 1, 2, 5, 10, 20]
Sizes = Sequence[tuple[int, int, Mapping[str, float]]]


def plot_commands(sizes: Sizes, measures: Mapping[str, str], path: Path) -> None:
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


def plot_backfill(
    names: Sequence[str], seconds: Sequence[float], waits: Sequence[float], path: Path
) -> None:
    """Two panels of bars: how long it takes, and how long somebody else waits for a row."""
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 3), sharey=True, layout="constrained")
    colors = ["tab:orange" if name.startswith("backfill") else "tab:gray" for name in names]
    for axis, values, label in (
        (axes[0], seconds, "seconds for 100,000 rows"),
        (axes[1], waits, "longest wait for a row, seconds"),
    ):
        bars = axis.barh(names, values, color=colors)
        axis.bar_label(bars, fmt="%.3g", padding=3)
        axis.set(xlabel=label, xscale="log")
        axis.margins(x=0.2)
        axis.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    figure.savefig(path, metadata={"Date": None})


def plot_copier(seconds: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """A panel of bars for each command: this template and the floor."""
    figure, axes = pyplot.subplots(
        1, len(seconds), figsize=(11, 1.8), sharex=True, sharey=True, layout="constrained"
    )
    for axis, (command, values) in zip(axes, seconds.items(), strict=True):
        colors = ["tab:orange", "tab:gray"]
        bars = axis.barh(list(values), list(values.values()), color=colors)
        axis.bar_label(bars, fmt="%.2f", padding=3)
        axis.set(xlabel=f"{command}, seconds")
        axis.margins(x=0.2)
        axis.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    figure.savefig(path, metadata={"Date": None})


def plot_upgrades(
    with_work: Mapping[int, Mapping[str, float]],
    without: Mapping[int, Mapping[str, float]],
    together: Mapping[int, Mapping[str, float]],
    path: Path,
) -> None:
    """Three panels: seconds with work and without by revisions, and by replicas."""
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 4), layout="constrained")
    for axis, label, seconds in (
        (axes[0], "revisions, from an empty database", with_work),
        (axes[1], "revisions, nothing to do", without),
        (axes[2], "replicas at once, nothing to do", together),
    ):
        sizes = list(seconds)
        for name in seconds[sizes[0]]:
            style = "-" if name == "ours" else "--"
            values = [seconds[size][name] for size in sizes]
            axis.plot(sizes, values, style, marker="o", markersize=3, label=name)
        axis.set(xlabel=label, xscale="log", xticks=sizes, xticklabels=sizes)
        axis.set_ylim(bottom=0)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("seconds")
    axes[0].legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})


def plot_stalls(stalls: Mapping[int, Mapping[str, tuple[float, float]]], path: Path) -> None:
    """A panel for each size: the slowest request during each change, plain and ours."""
    figure, axes = pyplot.subplots(
        1, len(stalls), figsize=(12, 4.5), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, (size, seconds) in zip(axes[0], stalls.items(), strict=True):
        for offset, (which, color) in enumerate((("plain", "tab:gray"), ("ours", "tab:orange"))):
            places = [row + 0.4 * offset for row in range(len(seconds))]
            values = [both[offset] for both in seconds.values()]
            bars = axis.barh(places, values, height=0.38, color=color, label=which)
            axis.bar_label(bars, fmt="%.2g", padding=3, fontsize="small")
        axis.set(xlabel=f"the slowest request, seconds ({size:,} rows)", xscale="log")
        axis.set_yticks([row + 0.2 for row in range(len(seconds))], list(seconds))
        axis.margins(x=0.2)
        axis.grid(axis="x", alpha=0.3)
    axes[0][0].invert_yaxis()
    axes[0][0].legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
