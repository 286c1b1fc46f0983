"""Do derivatives of pixels predict how far a picture moves without some items, and do scores find those that move it?

Metagradients of the pixels and of the losses of some queries. Then the training is run again without random twentieths
and random halves of the items, their places left empty: printed are the correlation of what the sums of pixels are
predicted to do with what they do, after each one's mean over the removals is taken off, and that of the squared
distance that a picture is predicted to move with the one that it moves, over the removals, a mean over the queries.
Then, for each query, without the k items that a score names, gradient_cosine's among them: printed are the mean squared
error of the picture and its SSIM.

    python benchmarks/moved_pictures.py [--queries 3] [--k 10 4] [--times 6] [-- model.patch=16 model.blocks=1]
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

import tdattr
from tdattr.methods import Context
from tdattr.methods.generation import generate_again
from tdattr.methods.kept_items import load_items
from tdattr.methods.metagradient import Metagradient
from tdattr.methods.output import Output
from tdattr.methods.output.pixels import lead
from tdattr.methods.way_back import FILE
from tdattr.methods.weighted_training import train_weighted
from tdattr.metrics.similarity import SSIM
from tdattr.networks import Network
from tdattr.pipeline.attribute import make_context
from tdattr.seeding import generator

SHARES = {"twentieths": 0.05, "halves": 0.5}
FIXED = [
    "experiment=metagradient", "protocol=none", "trainer.accelerator=cpu", "train.removal=empty", "queries.controls=0",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class World:
    """What is removed from; ``moved``: the derivatives of the ``output`` by the items' weights."""

    context: Context
    output: Output
    moved: Float[Tensor, "query direction item"]

    @cached_property
    def f1(self) -> Network:
        """The trained network."""
        return self.context.f1.load()

    @cached_property
    def pictures(self) -> Float[Tensor, "query pixel"]:
        """Those of the queries under it."""
        return draw(self.context, self.f1)

    @property
    def items(self) -> int:
        """Of the training split."""
        return len(self.context.data.train)

    def remove(self, rows: Int[Tensor, " row"]) -> Network:
        """Trained without those items."""
        counts = torch.ones(self.items)
        counts[rows] = 0
        with tempfile.TemporaryDirectory() as folder:
            return train_weighted(self.context, counts, Path(folder))

    def change(self, network: Network) -> Float[Tensor, "query pixel"]:
        """How the pictures differ under another network."""
        return draw(self.context, network) - self.pictures

    def compare(self, query: int, network: Network) -> tuple[float, float]:
        """The mean squared error of a query's picture, and its SSIM with what it was."""
        before, after = (
            rows[query].view(1, *self.context.queries.x.shape[1:])
            for rows in (self.pictures, draw(self.context, network))
        )
        ssim = SSIM(sigma=1.5, window=11).compare(before.float(), after.float())
        return float((after - before).square().mean()), float(ssim)


def draw(context: Context, network: Network) -> Float[Tensor, "query pixel"]:
    """The pictures of the queries under a network."""
    with torch.no_grad():
        x = generate_again(context, network, slice(0, len(context.queries)))
        return context.decode(x).flatten(1).double()


def differentiate(overrides: Sequence[str]) -> World:
    """The way through the training and back."""
    ws = tdattr.compose([*FIXED, "method.smoothness=null", *overrides])
    assert isinstance(ws.method, Metagradient)
    context = make_context(ws, ws.method, [])
    folder = ws.method.plan(context, ws.method.output.load(context)).get().folder
    values = load_items(folder / FILE)[0].double()
    return World(context, ws.method.output, values.unflatten(0, (-1, ws.method.output.size)))


def score(overrides: Sequence[str], queries: int) -> Float[Tensor, "query item"]:
    """What another method says of the same queries."""
    ws = tdattr.compose([*FIXED, *overrides])
    scorer = ws.method.start(make_context(ws, ws.method, []))
    return torch.stack([scorer(query).scores for query in range(queries)])


def correlate(world: World, share: float, times: int, rng: np.random.Generator) -> tuple[float, float]:
    """Of what removals of random items are predicted to do with what they do: to the sums of pixels, and to the
    distances."""
    removals = [
        torch.from_numpy(rng.choice(world.items, round(share * world.items), replace=False)) for _ in range(times)
    ]
    predicted = torch.stack([-world.moved[:, :, rows].sum(2) for rows in removals])
    before, found, distances = world.output.evaluate(world.context, world.f1), [], []
    for rows in removals:
        network = world.remove(rows)
        found.append(world.output.evaluate(world.context, network) - before)
        distances.append(world.change(network).square().sum(1))
    said, seen = (values - values.mean(0) for values in (predicted, torch.stack(found)))
    pairs = zip(predicted.square().sum(2).T, torch.stack(distances).T, strict=True)
    of_distances = [np.corrcoef(expected, measured)[0, 1] for expected, measured in pairs]
    return float((said * seen).sum() / (said.norm() * seen.norm())), float(np.mean(of_distances))


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
        losses = differentiate(overrides).moved
        world, by_ssim = (differentiate([*overrides, f"output@method.output={name}"]) for name in ("pixels", "ssim"))
        of_others = score([*overrides, "method=gradient_cosine"], options.queries)
        rng = generator(2, "measure")
        for name, share in SHARES.items():
            sums, distances = correlate(world, share, options.times, rng)
            print(f"{name}: correlation of sums of pixels {sums:.2f}, of distances {distances:.2f}", flush=True)
        for k in options.k:
            moved: dict[str, list[tuple[float, float]]] = {}
            for query in range(options.queries):
                of_pixels = world.moved[query]
                along = lead(of_pixels)
                scores = {
                    "pixels": along,
                    "other side": -along,
                    "squares": of_pixels.square().sum(0),
                    "ssim": lead(by_ssim.moved[query]),
                    "loss": -losses[query, 0],
                    "gradient_cosine": of_others[query],
                }
                removals = {name: values.topk(k).indices for name, values in scores.items()}
                removals["random"] = torch.from_numpy(rng.choice(world.items, k, replace=False))
                for name, rows in removals.items():
                    moved.setdefault(name, []).append(world.compare(query, world.remove(rows)))
            for name, both in moved.items():
                error, ssim = np.mean(both, axis=0)
                print(f"without {k} items by {name}: mean squared error {error:.5f}, SSIM {ssim:.4f}", flush=True)


if __name__ == "__main__":
    main()
