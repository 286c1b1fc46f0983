"""The distributions of similarities behind an AUC (MUCS Figure 2)."""

import io

import numpy as np

BINS = 24
PANELS = 5  # in a row


def distributions(values: dict[str, tuple[np.ndarray, np.ndarray]], measure: str) -> str:
    """One panel per method: the similarities after its removal (colour) over those after a random one (gray); SVG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    everything = np.concatenate([part for pair in values.values() for part in pair])
    edges = np.linspace(everything.min(), max(everything.max(), everything.min() + 1e-6), BINS + 1)
    columns = min(len(values), PANELS)
    lines = -(-len(values) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(3.2 * columns, 2.4 * lines), sharey=True, squeeze=False)
    for axis in axes.flat[len(values) :]:
        axis.remove()
    for axis, (method, (after, random)) in zip(axes.flat, values.items(), strict=False):
        axis.hist(random, edges, color="0.35", alpha=0.65, label="random")
        axis.hist(after, edges, color="tab:blue", alpha=0.65, label=method)
        axis.set_xlabel(f"{measure} before / after removal")
        axis.ticklabel_format(axis="x", useOffset=False)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8, loc="upper left")
    for axis in axes[:, 0]:
        axis.set_ylabel("queries")
    figure.tight_layout()
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
