"""Plots as SVG: the distributions of similarities behind an AUC (MUCS Figure 2), agreement on groups."""

import io
import logging
import textwrap
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

BINS = 24
NARROWEST = 1e-3  # range of similarities that is drawn: less is nothing that one could see in an image
TITLE_WIDTH = 26  # characters in a line
PANELS_PER_ROW = 5
MOST_NAMED = 24  # groups whose names fit beside a plot
LOG_AXIS_RATIO = 8.0  # of the largest value of a setting to the smallest, from which on the axis is logarithmic
LETTER_INCHES = 0.06  # the width of a letter beside a plot
LEGEND_LINE_INCHES = 0.19
MISSING_LETTERS = "Glyph .* missing from|Matplotlib currently does not support"  # which only measures texts here


def draw_distributions(values: dict[str, tuple[np.ndarray, np.ndarray]], measure: str) -> str:
    """One panel per method: the similarities after its removal (colour) over those after a random one (gray); SVG."""
    pooled = np.concatenate([part for pair in values.values() for part in pair])
    middle, half = (pooled.min() + pooled.max()) / 2, max(np.ptp(pooled), NARROWEST) / 2
    edges = np.linspace(middle - half, middle + half, BINS + 1)
    figure, axes = make_panels(len(values), (3.2, 2.4), sharey=True)
    for axis, (method, (after, random)) in zip(axes.flat, values.items(), strict=False):
        axis.hist(random, edges, color="0.35", alpha=0.65, label="random")
        axis.hist(after, edges, color="tab:blue", alpha=0.65, label=method)
        axis.set_xlabel(f"{measure} before / after removal")
        axis.ticklabel_format(axis="x", useOffset=False)
        axis.locator_params(axis="x", nbins=4)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(y=0.4)  # room for the legend above the bars
        axis.legend(frameon=False, fontsize=8, loc="upper left")
    for axis in axes[:, 0]:
        axis.set_ylabel("queries")
    return as_svg(figure)


def draw_agreements(values: Mapping[str, Mapping[str, Mapping[str, Any]]], measures: tuple[str, ...]) -> str:
    """One panel per measure: every method's mean with its interval, and LOGO's agreement with itself as a line; SVG.

    ``values``: method -> measure -> ``mean``, ``low`` and ``high``, None without an interval, and, where it is known,
    ``ceiling``.
    """
    names = list(values)
    size = (LETTER_INCHES * max(map(len, names)) + 2.6 * len(measures), 0.8 + 0.28 * len(names))
    figure, axes = pyplot().subplots(1, len(measures), figsize=size, sharey=True, squeeze=False)
    heights = np.arange(len(names))[::-1]
    for axis, measure in zip(axes[0], measures, strict=True):
        results = [values[name][measure] for name in names]
        middle = np.array([result["mean"] for result in results])
        ends = np.array([[result["low"], result["high"]] for result in results], np.float64)  # NaN: no interval
        reach = np.abs(ends.T - middle)
        axis.errorbar(middle, heights, xerr=reach, fmt="o", color="tab:blue", markersize=4, linewidth=1)
        ceilings = [result["ceiling"] for result in results if "ceiling" in result]
        if ceilings:
            axis.axvline(float(np.mean(ceilings)), color="0.35", linestyle="--", linewidth=1, label="ceiling")
            axis.legend(frameon=False, fontsize=8, loc="lower right")
        axis.axvline(0, color="0.8", linewidth=0.8, zorder=0)
        axis.set_xlabel(measure)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_yticks(heights, names, fontsize=8)
    axes[0, 0].set_ylim(-0.7, len(names) - 0.3)
    return as_svg(figure)


def draw_curves(
    values: Mapping[float, Mapping[str, Mapping[str, Mapping[str, Any]]]], setting: str, measures: tuple[str, ...]
) -> str:
    """One panel per measure: every method's mean with its interval over a setting's values; SVG.

    ``values``: value of the setting -> method -> measure -> ``mean``, ``low`` and ``high``, None without an interval;
    a method may lack a measure, and one that all lack is left out.
    """
    methods = list(dict.fromkeys(name for by_method in values.values() for name in by_method))
    available = {
        measure for by_method in values.values() for by_measure in by_method.values() for measure in by_measure
    }
    measures = tuple(measure for measure in measures if measure in available)
    lines = -(-len(methods) // 2)
    size = (3.6 * len(measures), 3.0 + LEGEND_LINE_INCHES * lines)
    figure, axes = pyplot().subplots(1, len(measures), figsize=size, squeeze=False)
    for axis, measure in zip(axes[0], measures, strict=True):
        for name in methods:
            xs = [value for value, by_method in values.items() if measure in by_method.get(name, {})]
            lows, means, highs = (
                np.array([values[v][name][measure][key] for v in xs], np.float64) for key in ("low", "mean", "high")
            )
            axis.plot(xs, means, marker="o", markersize=3, label=name)
            axis.fill_between(xs, lows, highs, alpha=0.15)
        if min(values) > 0 and max(values) >= LOG_AXIS_RATIO * min(values):
            axis.set_xscale("log")
        axis.set_xticks(sorted(values), [f"{value:g}" for value in sorted(values)], fontsize=8)
        axis.minorticks_off()
        axis.set_xlabel(setting, fontsize=8)
        axis.set_title(measure, fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, fontsize=7, loc="lower left", ncols=2)
    return as_svg(figure, bottom=LEGEND_LINE_INCHES * lines / size[1])


def draw_confusions(tables: Mapping[str, pd.DataFrame]) -> str:
    """One panel per method: how often it named which group (column) where gold names which (row); SVG.

    ``tables``: method -> a row per query with the columns ``gold`` and ``named``.
    """
    groups = sorted({str(name) for table in tables.values() for name in pd.concat([table["gold"], table["named"]])})
    side = 1.5 + 0.16 * min(len(groups), MOST_NAMED)
    figure, axes = make_panels(len(tables), (side, side + 0.5), margin=(1.2, 0.3))
    for axis, (method, table) in zip(axes.flat, tables.items(), strict=False):
        counts = pd.crosstab(table["gold"].astype(str), table["named"].astype(str))
        axis.imshow(counts.reindex(index=groups, columns=groups, fill_value=0), cmap="Blues", vmin=0)
        axis.set_title(textwrap.fill(method, TITLE_WIDTH), fontsize=8)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_xlabel("named", fontsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel("gold", fontsize=8)
        if len(groups) <= MOST_NAMED:
            axis.set_yticks(range(len(groups)), groups, fontsize=7)
    return as_svg(figure)


def make_panels(
    count: int, size: tuple[float, float], margin: tuple[float, float] = (0, 0), sharey: bool = False
) -> tuple[Any, Any]:
    """A figure with ``count`` axes, at most PANELS_PER_ROW in a row; ``size`` of each, ``margin`` of all, in inches."""
    columns = min(count, PANELS_PER_ROW)
    lines = -(-count // columns)
    whole = (size[0] * columns + margin[0], size[1] * lines + margin[1])
    figure, axes = pyplot().subplots(lines, columns, figsize=whole, sharey=sharey, squeeze=False)
    for axis in axes.flat[count:]:
        axis.remove()
    return figure, axes


def pyplot() -> Any:
    """Matplotlib without a screen; it takes seconds to import. Names are shown as they are, dollars and all, and stay
    texts in an SVG, so that the reader's fonts show the letters that Matplotlib's lack."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["text.parse_math"] = False  # a name is no formula
    matplotlib.rcParams["svg.fonttype"] = "none"  # text, which the browser sets in a font that has its letters
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it says when it looks for fonts
    import matplotlib.pyplot

    return matplotlib.pyplot


def as_svg(figure: Any, bottom: float = 0) -> str:
    """The figure's SVG element, with that share of its height left free at its ``bottom``; the figure is closed."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", MISSING_LETTERS, UserWarning)
        figure.tight_layout(rect=(0, bottom, 1, 1))
        figure.savefig(buffer, format="svg")
    pyplot().close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
