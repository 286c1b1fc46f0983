"""A report of pretended runs with pictures, which tests look at in a real browser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tdattr.report import command
from tdattr.scores import Scores, save_scores
from tdattr.tables import read_frame, write_table
from tests.report.outputs import ITEMS, QUERIES, K, Outputs
from tests.report.pictured import add_pictures

Open = Callable[..., Any]  # opens an address of the page; settings are those of a browser's context
HOSTILE = (
    "</script><script>window.broken = 1</script>",
    "<!-- <script> \u2028 & \"quoted\" 'single'",
    '"><img src=x onerror="window.broken = 1">',
    '=HYPERLINK("http://example.org")',
    r"$\frac{a}{b}$ \input{x} 100 % _",
    "plain {{ 7 * 7 }} ${window.broken = 1}",
)
GROUPS = ("<b>bold</b>", "thin & wide", "日本語")
SURE = np.array([[2, 5, 1], [9, 1, 3], [2, 6, 1], [3, 8, 2], [2, 4, 7], [2, 7, 4]], np.float64)  # [query, group]


def write_report(root: Path) -> Path:
    """A report of methods on two seeds judged by removal, of three judged on groups, and of two on the user's own
    pictures."""
    outputs = Outputs(root)
    rng = np.random.default_rng(0)
    for seed in (1, 2):
        outputs.run("pixel", seed, 0.1)
        add_pictures(outputs, HOSTILE, GROUPS, rng.uniform(0, 1, (QUERIES, ITEMS)))
        outputs.run("mucs", seed, 0.4, settings={"name": "mucs"}, summary={"signed": True, "warnings": ["<b>Few</b>"]})
        scores = rng.normal(size=(QUERIES, ITEMS))
        scores[:, 7] = 9.0  # a hub
        add_pictures(outputs, HOSTILE, GROUPS, scores, np.full((QUERIES, ITEMS), 0.25))
        outputs.run("abu", seed, 0.2)
        add_pictures(outputs, HOSTILE, GROUPS, rng.normal(size=(QUERIES, ITEMS)), decided=K)
    gold = rng.random((QUERIES, len(GROUPS)))
    aggregate = {"kind": "mean", "top": 3, "positive_only": False}
    for name in ("pixel", "tracin"):
        found = rng.random((QUERIES, len(GROUPS)))
        protocol = {"name": "logo", "aggregate": aggregate}
        outputs.groups(name, 1, gold, found, ceiling=gold, names=GROUPS, protocol=protocol)
        add_pictures(outputs, HOSTILE, GROUPS)
    outputs.groups("guda_u", 1, gold, SURE, names=GROUPS, protocol={"name": "logo", "aggregate": aggregate})
    add_pictures(outputs, HOSTILE, GROUPS)
    sure = torch.from_numpy(SURE).float()
    scores_of_groups = Scores(sure, np.arange(ITEMS), groups=list(GROUPS), standard_errors=torch.full_like(sure, 0.25))
    save_scores(scores_of_groups, outputs.root / "artifacts" / "scores" / f"{outputs.count}")
    pictures = [
        {
            "picture": f"mine/{query}.png",
            "loss": 1.0,
            "share_below": 0.4,
            "beyond": {1: True, 2: None}.get(query, False),  # of the third it is not judged
            "far": False,
        }
        for query in range(QUERIES)
    ]
    for name, shift, summary in (("pixel", 0.2, {"signed": False}), ("das", 0.8, {})):
        outputs.rises(name, 1, shift, pictures=pictures, summary=summary, queries={"images": "mine"})
        add_pictures(outputs, HOSTILE, GROUPS, rng.normal(size=(QUERIES, ITEMS)))
        path = outputs.root / "artifacts" / "queries" / f"{outputs.count}" / "queries.csv"
        write_table(path, read_frame(path).assign(name=[each["picture"] for each in pictures]))
    command.write([outputs.root / "runs"], outputs.root / "report")
    return outputs.root / "report"


def is_remote(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))


def slug(report: Path, protocol: str) -> str:
    """The part of an address that names an experiment."""
    return next(path.name for path in (report / "tables").iterdir() if f"-{protocol}-" in path.name)
