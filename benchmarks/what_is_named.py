"""What do methods name? Of the items that each would remove for a query: how many share a field with it (its character,
its class), and how many MUCS names too. Reads finished runs of leave-k-out; means over queries and seeds.

    python benchmarks/what_is_named.py outputs/runs [--field object] [--k 24]
"""

import argparse
from pathlib import Path

import numpy as np

from tdattr.data.prepared import read_split
from tdattr.report.collect import Run, collect
from tdattr.scores import load_scores
from tdattr.tables import read_frame

REFERENCE = "mucs"


def name_runs(run: Run, k: int) -> list[set[int]]:
    """The k items with the highest scores, for every query."""
    return [set(row.tolist()) for row in load_scores(run.artifact("scores")).top(k)]


def main() -> None:
    """Read, count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--field", default="object")
    parser.add_argument("--k", type=int, default=24)
    options = parser.parse_args()
    for experiment in collect(options.runs).experiments:
        if experiment.protocol != "leave_k_out":
            continue
        print(experiment.title)
        for method, runs in experiment.runs.items():
            alike, common = [], []
            for seed, run in runs.items():
                items = read_split(run.artifact("dataset").folder, "train").items[options.field].to_numpy()
                queries = read_frame(run.artifact("queries").folder / "queries.csv")[options.field]
                own = name_runs(run, options.k)
                alike += [np.mean([items[i] == value for i in ids]) for ids, value in zip(own, queries, strict=False)]
                other = experiment.runs.get(REFERENCE, {}).get(seed)
                if other is not None:
                    common += [len(a & b) / options.k for a, b in zip(own, name_runs(other, options.k), strict=True)]
            shared = f", {np.mean(common) * options.k:4.1f} named by {REFERENCE} too" if common else ""
            print(f"{method:32} {np.mean(alike) * options.k:4.1f} of {options.k} with its {options.field}{shared}")


if __name__ == "__main__":
    main()
