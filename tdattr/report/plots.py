"""The distributions of similarities behind an AUC (MUCS Figure 2)."""

import io

import numpy as np

BINS = 24


def distributions(values: dict[str, tuple[np.ndarray, np.ndarray]], measure: str) -> str:
    """One panel per method: the similarities after its removal (colour) over those after a random one (gray); SVG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    everything = np.concatenate([part for pair in values.values() for part in pair])
    edges = np.linspace(everything.min(), max(everything.max(), everything.min() + 1e-6), BINS + 1)
    figure, axes = plt.subplots(1, len(values), figsize=(3.2 * len(values), 2.4), sharey=True, squeeze=False)
    for axis, (method, (after, random)) in zip(axes[0], values.items(), strict=True):
        axis.hist(random, edges, color="0.35", alpha=0.65, label="random")
        axis.hist(after, edges, color="tab:blue", alpha=0.65, label=method)
        axis.set_xlabel(f"{measure} before / after removal")
        axis.ticklabel_format(axis="x", useOffset=False)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8, loc="upper left")
    axes[0][0].set_ylabel("queries")
    figure.tight_layout()
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
