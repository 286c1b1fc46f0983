"""Does self-influence find wrong labels, and what it shares with a twin duplicates?

The digits of glyphs are saved as a folder of images in which a few have the wrong label and a few are there twice. Each
argument is a method and its training: overrides in one string. Printed are the ranks of the wrong labels and of the
duplicates among all items, by self-influence, and those of the planted pairs among all pairs that share most.

    python benchmarks/self_influence.py method=tracin method=das
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import tdattr
from tdattr.pictures import to_uint8
from tdattr.scores import Scores
from tdattr.seeding import generator

WRONG, TWICE = 3, 2
BASE = [
    "dataset=image_folder", "recipe@dataset.recipe=cpu_short", "dataset.source.resolution=16",
    "dataset.source.channels=1", "dataset.source.condition=group", "dataset.source.held_out=0",
    "protocol=none", "method.self=true",
]  # fmt: skip


def plant(root: Path, digits: int) -> None:
    """Save the first ``digits`` of the digits, a folder each: ``wrong_*`` in another one's, and copies, ``twice_*``."""
    split = tdattr.compose(["dataset=glyph_digits", "queries.attributed=20", "queries.controls=0"]).data.train
    labels = split.condition(np.arange(len(split))).argmax(1).numpy()
    kept = np.flatnonzero(labels < digits)
    chosen = generator(1, "benchmark.self_influence").permutation(kept)[: WRONG + TWICE].tolist()
    wrong, twice = chosen[:WRONG], chosen[WRONG:]
    for index in kept.tolist():
        picture = Image.fromarray(to_uint8(split.images(np.array([index])))[0])
        label = int(labels[index])
        shown = (label + 1) % digits if index in wrong else label
        folder = root / str(shown)
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{'wrong_' if index in wrong else ''}{index:03d}.png")
        if index in twice:
            picture.save(folder / f"twice_{index:03d}.png")


def tell(scores: Scores, names: list[str]) -> str:
    """Where what was planted stands."""
    order = torch.argsort(scores.values[0], descending=True).tolist()
    ranks = {names[row]: rank for rank, row in enumerate(order, start=1)}
    wrong = sorted(rank for name, rank in ranks.items() if "wrong" in name)
    twice = sorted(rank for name, rank in ranks.items() if "twice" in name)
    pairs = scores.pairs(len(names))
    found = [rank for rank, (one, other, _) in enumerate(pairs, start=1) if is_planted(names[one], names[other])]
    shared = [f"{pairs[rank - 1][2]:.3f}" for rank in found]
    rest = max(shared for one, other, shared in pairs if not is_planted(names[one], names[other]))
    return (
        f"of {len(names)}: wrong labels {wrong}, duplicates {twice}; pairs {found}, which share {shared}, others at "
        f"most {rest:.3f}"
    )


def is_planted(one: str, other: str) -> bool:
    """Whether two items are a picture and its copy."""
    return one.replace("twice_", "") == other.replace("twice_", "")


def main() -> None:
    """Each training with its method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", type=int, default=10, help="how many of the ten digits are trained on")
    parser.add_argument("--folder", type=Path, default=Path("outputs/planted"), help="where they are saved")
    parser.add_argument("runs", nargs="+")
    arguments = parser.parse_args()
    root = arguments.folder / str(arguments.digits)
    plant(root, arguments.digits)
    for run in arguments.runs:
        ws = tdattr.compose([*BASE, f"dataset.source.root={root.absolute()}", *run.split()])
        scores = tdattr.attribute(ws)
        print(f"{run} {tell(scores, ws.data.train.items['name'].tolist())}", flush=True)


if __name__ == "__main__":
    main()
