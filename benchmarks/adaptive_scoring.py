"""How many of the losses after unlearning decide who is attributed? Complete tables, and what is found of them.

Every query is unlearned once and all of its losses are evaluated, in two precisions; the tables are kept in
``--folder``, and asking for more queries only adds them. Then `tdattr.scoring.racing` and `tdattr.scoring.importance`
are given the same tables, of which they see the cells that they ask for. Prints, over the queries, the share of the
cells and of the right items in the top 2 %, and for estimates of every score their rank correlation with the full ones.

    python benchmarks/adaptive_scoring.py --folder FOLDER [--queries 50] [--seconds 300] [--share 0.02] [OVERRIDES]
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

import tdattr
from tdattr.methods import Context, Scored
from tdattr.methods.f1_losses import loss_model
from tdattr.methods.mucs import MUCS
from tdattr.methods.shift_allocation import find_near
from tdattr.methods.shift_config import list_items
from tdattr.methods.shift_noise import noise_set
from tdattr.metrics.rank_correlation import spearman
from tdattr.pipeline.attribute import attribute, make_context
from tdattr.scoring.cells import TrainingItems
from tdattr.scoring.importance import weigh
from tdattr.scoring.racing import Outline, race
from tdattr.seeding import generator
from tdattr.training.config import ScoringPrecision
from tdattr.training.quiet import quieten

DOUBTS = (3.5, 4.0)
COUNTS = (5, 10, 16, 20, 33)  # pairs of every item
Table = Float[np.ndarray, "item pair"]


def complete(
    method: MUCS, given: Context, count: int, folder: Path, low: ScoringPrecision, seconds: float
) -> tuple[list[tuple[Table, Int[np.ndarray, " item"]]], list[Table]]:
    """The shifts of every item after unlearning each of the first ``count`` queries, or of those for which the time is
    enough, with the items in the order of how near they are to it; and the shifts again, by a network in another
    precision."""
    noise, items = noise_set(given, method.score), TrainingItems(given.data.train, given.ids)

    def losses(network: nn.Module, precision: ScoringPrecision, description: str) -> Float[Tensor, "item pair"]:
        model = replace(loss_model(given, network), precision=precision)
        return model.table(items, noise, description=f"{description} in {precision}")

    precisions: tuple[ScoringPrecision, ScoringPrecision] = ("float32", low)
    for precision in precisions:
        (folder / precision).mkdir(parents=True, exist_ok=True)
        if not (path := folder / precision / "before.npy").exists():
            np.save(path, losses(given.f1.load(), precision, "Losses of F1"))
    missing = [
        query
        for query in range(count)
        if not all((folder / precision / f"{query}.npy").exists() for precision in precisions)
    ]
    null_loss = method.estimate_null_loss(given) if missing else None

    def keep(network: nn.Module, query: int) -> Scored:
        for precision in precisions:
            before = torch.from_numpy(np.load(folder / precision / "before.npy"))
            after = losses(network, precision, f"Losses after query {query}")
            np.save(folder / precision / f"{query}.npy", method.score.compare(before, after))
        return Scored(torch.zeros(len(given.ids)))

    beginning = time.monotonic()
    for query in missing:
        if time.monotonic() - beginning > seconds:
            count = query
            break
        method.score_query(given, null_loss, None, keep, query)
    exact, other = (
        [np.load(folder / precision / f"{query}.npy").astype(np.float64) for query in range(count)]
        for precision in precisions
    )
    sides = [side[0] for side in list_items(given, method.score)]
    return [(table, find_near(sides, given.queries.x[query])) for query, table in enumerate(exact)], other


def ask(table: Table, rows: Int[np.ndarray, " cell"], columns: Int[np.ndarray, " cell"]) -> Float[Tensor, " cell"]:
    """Cells of a table."""
    return torch.from_numpy(table[rows, columns])


def find_top(scores: Float[np.ndarray, " item"], k: int) -> set[int]:
    """The k highest."""
    return set(np.argsort(-scores, kind="stable")[:k].tolist())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.02, help="of the items that are the top")
    parser.add_argument("--queries", type=int, help="the first so many; all without it")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which no query is begun")
    parser.add_argument("--precision", default="bfloat16", choices=["tf32", "bfloat16"], help="beside float32")
    options, overrides = parser.parse_known_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    quieten()
    ws = tdattr.compose([*overrides, "method=mucs", "method.score.allocation=all"])
    method = ws.method
    assert isinstance(method, MUCS) and ws.cfg.ablation is None and not method.score.mirror
    if ws.trainer.threads is not None:
        torch.set_num_threads(ws.trainer.threads)
    address = options.folder / "address.txt"
    if any(options.folder.iterdir()) and (not address.exists() or address.read_text() != attribute(ws).address):
        raise SystemExit(f"{options.folder} holds tables of other settings: choose another folder.")
    address.write_text(attribute(ws).address)
    context = make_context(ws, method, [])
    count = len(context.queries) if options.queries is None else options.queries
    tables, low = complete(method, context, count, options.folder, options.precision, options.seconds)
    items, pairs = tables[0][0].shape
    k, positions = round(options.share * items), np.arange(pairs) / pairs
    print(f"{items} items, {pairs} pairs, {len(tables)} queries, top {k}")

    def tell(name: str, choose: Callable[[Table, Int[np.ndarray, " item"]], tuple[set[int], float, float]]) -> None:
        found = [choose(*table) for table in tables]
        truth = [find_top(table.mean(1), k) for table, _ in tables]
        recalls = np.array([len(one & true) / k for (one, _, _), true in zip(found, truth, strict=True)])
        shares, expected = (np.array([row[column] for row in found]) for column in (1, 2))
        print(
            f"{name:24} {100 * shares.mean():5.1f} % of the cells (most {100 * shares.max():.1f} %), recall "
            f"{recalls.mean():.4f}, lowest {recalls.min():.3f}, below 0.95 in {(recalls < 0.95).mean():.1%}, missed "
            f"{(1 - recalls).sum() * k:.0f}" + ("" if np.isnan(expected).any() else f", expected {expected.sum():.1f}"),
            flush=True,
        )

    def by_race(doubt: float, table: Table, near: Int[np.ndarray, " item"]) -> tuple[set[int], float, float]:
        found = race(partial(ask, table), Outline(near, positions), k, doubt)
        return find_top(found.means, k), found.facts["share_evaluated"], found.facts["expected_misses"]

    def by_few(table: Table, near: Int[np.ndarray, " item"]) -> tuple[set[int], float, float]:
        few = table[:, np.linspace(0, pairs - 1, 5).astype(int)].mean(1)
        best = np.array(sorted(find_top(few, items // 10)))
        scores = np.full(items, -np.inf)
        scores[best] = table[best].mean(1)
        return find_top(scores, k), (5 * items + (pairs - 5) * len(best)) / table.size, np.nan

    tell("5 pairs, then the tenth", by_few)
    for doubt in DOUBTS:
        tell(f"race, doubt {doubt}", partial(by_race, doubt))
    full = np.stack([table.mean(1) for table, _ in tables])
    other = np.stack([table.mean(1) for table in low])
    same = np.mean([len(find_top(one, k) & find_top(two, k)) / k for one, two in zip(full, other, strict=True)])
    off = np.abs(other - full)
    print(
        f"{options.precision}: scores differ by {off.mean():.1e} (most {off.max():.1e}), the top by {1 - same:.2%} of "
        f"its items; Spearman at least {spearman(other.T, full.T).min():.5f}"
    )
    for count in COUNTS:
        even = np.stack([table[:, np.linspace(0, pairs - 1, count).astype(int)].mean(1) for table, _ in tables])
        weighed = [
            weigh(partial(ask, table), items, positions, count, generator(ws.seed, "score.complete", query))
            for query, (table, _) in enumerate(tables)
        ]
        weighted = np.stack([one.means for one in weighed])
        named = [f"{values.mean():.4f} (lowest {values.min():.3f})" for values in (
            spearman(even.T, full.T), spearman(weighted.T, full.T))]  # fmt: skip
        share = np.mean([one.facts["share_evaluated"] for one in weighed])
        print(f"{count} pairs of every item: Spearman even {named[0]}; importance {named[1]}, {share:.1%} of the cells")


if __name__ == "__main__":
    main()
