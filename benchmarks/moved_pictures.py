"""Do derivatives of pixels predict how far a picture moves without some items, and do scores find those that move it?

Metagradients of the pixels and of the losses of some queries. Then the training is run again without random twentieths
and random halves of the items, their places left empty: printed is the correlation, over the removals of a query, of
the squared distance that its picture is predicted to move with the one that it moves, means over the queries. Then, for
each query, without the k items that a score names: printed is the mean squared error of the picture.

    python benchmarks/moved_pictures.py [--queries 3] [--k 10 4] [--times 6] [-- model.patch=16 model.blocks=1]
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

import tdattr
from tdattr.methods import Context
from tdattr.methods.generation import generate_again
from tdattr.methods.metagradient import FILE, ITEMS, Metagradient
from tdattr.methods.output.pixels import lead
from tdattr.methods.weighted_training import train_weighted
from tdattr.networks import Network
from tdattr.pipeline.attribute import make_context
from tdattr.seeding import generator

SHARES = {"twentieths": 0.05, "halves": 0.5}
FIXED = [
    "experiment=metagradient", "protocol=none", "trainer.accelerator=cpu", "train.removal=empty", "queries.controls=0",
    "method.smoothness=null",
]  # fmt: skip


@dataclass(frozen=True)
class World:
    """What is removed from, and the pictures of the queries under F1."""

    context: Context
    pictures: Float[Tensor, "query pixel"]

    @property
    def items(self) -> int:
        """Of the training split."""
        return len(self.context.data.train)

    def remove(self, rows: Sequence[int] | Tensor) -> Float[Tensor, "query pixel"]:
        """How the pictures change without those items."""
        counts = torch.ones(self.items)
        counts[rows] = 0
        with tempfile.TemporaryDirectory() as folder:
            network = train_weighted(self.context, counts, Path(folder))
        return draw(self.context, network) - self.pictures


def draw(context: Context, network: Network) -> Float[Tensor, "query pixel"]:
    """The pictures of the queries under a network."""
    with torch.no_grad():
        x = generate_again(context, network, slice(0, len(context.queries)))
        return context.decode(x).flatten(1).double()


def differentiate(overrides: Sequence[str]) -> tuple[Context, Float[Tensor, "query direction item"]]:
    """The derivatives of the queries' outputs by the items' weights."""
    ws = tdattr.compose([*FIXED, *overrides])
    assert isinstance(ws.method, Metagradient)
    context = make_context(ws, ws.method, [])
    folder = ws.method.plan(context, ws.method.output.load(context)).get().folder
    values = load_file(folder / FILE)[ITEMS].double()
    return context, values.unflatten(0, (-1, ws.method.output.size))


def correlate(world: World, moved: Float[Tensor, "query direction item"], share: float, times: int) -> float:
    """Of the squared distances that removals of random items are predicted to cause with those that they do."""
    rng, predicted, found = generator(2, "benchmark.moved_pictures"), [], []
    for _ in range(times):
        rows = torch.from_numpy(rng.choice(world.items, round(share * world.items), replace=False))
        predicted.append(moved[:, :, rows].sum(2).square().sum(1))
        found.append(world.remove(rows).square().sum(1))
    pairs = zip(torch.stack(predicted, 1), torch.stack(found, 1), strict=True)
    return float(np.mean([np.corrcoef(said, seen)[0, 1] for said, seen in pairs]))


def main() -> None:
    """Parse the arguments and print what is found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=3)
    parser.add_argument("--k", type=int, nargs="+", default=[10, 4])
    parser.add_argument("--times", type=int, default=6)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"paths.outputs={folder}", f"queries.attributed={options.queries}", *options.overrides]
        _, losses = differentiate(overrides)
        context, moved = differentiate([*overrides, "output@method.output=pixels"])
        world = World(context, draw(context, context.f1.load()))
        for name, share in SHARES.items():
            print(f"{name}: correlation {correlate(world, moved, share, options.times):.2f}", flush=True)
        rng = generator(3, "benchmark.moved_pictures")
        for k in options.k:
            errors: dict[str, list[float]] = {}
            for query, (of_pixels, of_loss) in enumerate(zip(moved, losses, strict=True)):
                along = lead(of_pixels)
                scores = {
                    "along": along,
                    "other side": -along,
                    "squares": of_pixels.square().sum(0),
                    "loss": -of_loss[0],
                    "random": torch.from_numpy(rng.standard_normal(world.items)),
                }
                for name, values in scores.items():
                    change = world.remove(values.topk(k).indices)[query]
                    errors.setdefault(name, []).append(float(change.square().mean()))
            said = ", ".join(f"{name} {np.mean(values):.5f}" for name, values in errors.items())
            print(f"mean squared error without {k} items: {said}", flush=True)


if __name__ == "__main__":
    main()
