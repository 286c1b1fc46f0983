"""Pretended runs with pictures: what the viewer shows."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from safetensors.torch import save_file

from tdattr.tables import write_table
from tests.report.outputs import ITEMS, QUERIES, Outputs

SIDE = 8  # pixels


def add_pictures(
    outputs: Outputs,
    captions: Sequence[str],
    groups: Sequence[str],
    scores: np.ndarray | None = None,
    errors: np.ndarray | None = None,
    decided: int | None = None,
) -> None:
    """Give the newest run a dataset, queries and images after its removal. ``captions`` of items and queries in turn;
    ``groups`` of the items in turn. ``scores`` [query, item] take the place of its own."""
    number = outputs.count
    rng = np.random.default_rng(number)
    path = outputs.root / "runs" / f"run {number}" / "summary.json"
    summary: dict[str, Any] = json.loads(path.read_text())
    told = [captions[index % len(captions)] for index in range(ITEMS)]
    items = {
        "id": [str(index) for index in range(ITEMS)],
        "prompt": told,
        "style": [groups[index % len(groups)] for index in range(ITEMS)],
    }
    dataset = artifact(outputs.root, "dataset/1")
    if not (dataset / "train_items.csv").exists():
        write_table(dataset / "train_items.csv", pd.DataFrame(items))
        np.save(dataset / "train_images.npy", rng.integers(256, size=(ITEMS, SIDE, SIDE, 3), dtype=np.uint8))
        np.save(dataset / "train_conditions.npy", np.zeros((ITEMS, 1, 1), np.float32))
    queries = artifact(outputs.root, f"queries/{number}")
    prompts = [captions[index % len(captions)] for index in range(QUERIES)]
    style = [groups[index % len(groups)] for index in range(QUERIES)]
    write_table(queries / "queries.csv", pd.DataFrame({"query": range(QUERIES), "prompt": prompts, "style": style}))
    save_images(queries)
    roles = {"dataset": "dataset/1", "queries": f"queries/{number}"}
    if summary["protocol"] == "leave_k_out":
        for role in ("regenerated", "regenerated_random"):
            save_images(artifact(outputs.root, f"{role}/{number}"))
            roles[role] = f"{role}/{number}"
    place = outputs.root / "artifacts" / summary["artifacts"]["scores"]
    if scores is not None:
        tensors = {"scores": torch.from_numpy(scores.astype(np.float32))}
        if errors is not None:
            tensors["standard_errors"] = torch.from_numpy(errors.astype(np.float32))
        save_file(tensors, place / "scores.safetensors")
    if decided is not None:
        (place / "decided.json").write_text(json.dumps(decided))
    path.write_text(json.dumps(summary | {"artifacts": summary["artifacts"] | roles}))
    config = path.parent / "config.yaml"
    content = yaml.safe_load(config.read_text())
    content["dataset"] |= {"groups": "style", "text": content["dataset"].get("text")}
    content["queries"] = {"attributed": QUERIES} | content.get("queries", {})
    config.write_text(yaml.safe_dump(content))
    (path.parent / ".hydra").mkdir()
    (path.parent / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([f"seed={summary['seed']}", "dataset=a b"]))


def artifact(root: Path, name: str) -> Path:
    """The folder of one, as of a version without digests."""
    folder = root / "artifacts" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "provenance.json").write_text("{}")
    return folder


def save_images(folder: Path) -> None:
    """Those of every query."""
    rng = np.random.default_rng(len(str(folder)) + ord(str(folder)[-1]))
    images = torch.from_numpy(rng.uniform(-1, 1, (QUERIES, 3, SIDE, SIDE)).astype(np.float32))
    save_file({"images": images}, folder / "images.safetensors")
