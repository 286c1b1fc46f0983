"""What a run tells its logger: what it is when it begins, and what it leaves when it is done."""

import secrets
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tdattr.experiments import name_experiment
from tdattr.files import write_text
from tdattr.image_bytes import unpack
from tdattr.loggers import Picture, Results, RunInfo
from tdattr.pipeline.scores_table import tabulate_scores
from tdattr.pipeline.workspace import Workspace
from tdattr.queries import TABLE, load_images
from tdattr.scores import LISTED, choose_damping, load_scores
from tdattr.store import find
from tdattr.tables import read_table

ID = "run_id"  # the file in a run's folder
ID_BYTES = 8
PICTURES = ("queries", "regenerated", "regenerated_random")  # artifacts whose images a logger shows
MOST_LOGGED = 10_000  # rows of scores: W&B shows no more of a table
SHOWN = LISTED  # attributed items or groups of every query
WriteReport = Callable[[list[Path], Path], None]  # of the runs in some folders, into another folder


def describe_run(ws: Workspace, folder: Path, config: dict[str, Any]) -> RunInfo:
    """What a logger is told of a run that begins in ``folder``."""
    return RunInfo(folder, keep_id(folder), name_experiment(config), compared(ws), config)


def keep_id(folder: Path) -> str:
    """The id of the run in a folder, drawn once: it goes with the folder, whatever becomes of its path."""
    path = folder / ID
    known = path.read_text().strip() if path.exists() else ""
    if not known:
        known = secrets.token_hex(ID_BYTES)
        write_text(path, f"{known}\n")
    return known


def compared(ws: Workspace) -> dict[str, str | float]:
    """What runs are compared by: what was chosen, and numbers under short names."""
    cfg = ws.cfg
    return {
        "dataset": ws.dataset.name,
        "model": cfg.model.name,
        "diffusion": cfg.diffusion.name,
        "method": cfg.method.name,
        "ablation": cfg.get("ablation") or "none",
        "protocol": cfg.protocol.name,
        "seed": ws.seed,
        "learning_rate": ws.train.learning_rate,
        "steps": ws.train.count_steps(len(ws.ids)),
        **ws.method.compared(ws.train),
        **ws.protocol.compared(len(ws.ids)),
    }


def gather(ws: Workspace, summary: dict[str, Any], folder: Path, write_report: WriteReport) -> Results:
    """What a finished run leaves; artifacts that are not stored any more are left out."""
    evaluation = find(ws.store.root, summary["artifacts"]["evaluation"]).folder
    headline = ws.protocol.headline(summary, read_table(evaluation / TABLE))
    attributed = all(is_stored(ws, summary["artifacts"][role]) for role in ("scores", "queries"))
    table: Callable[[], dict[str, list[Any]]] = (
        cache(partial(tabulate, ws, summary, evaluation)) if attributed else dict
    )
    drawn = pictures(ws, summary["artifacts"])
    if attributed:
        drawn["attributions"] = lambda: draw_table(table())

    def list_files() -> list[Path]:
        out = folder / "report"
        write_report([folder], out)
        own = [path for path in sorted(folder.iterdir()) if path.suffix in (".yaml", ".json", ".csv", ".parquet")]
        return [*own, evaluation / TABLE, *sorted(path for path in out.rglob("*") if path.is_file())]

    ends = 2 if ws.method.signed else 1  # of the scores, from each of which rows are taken
    rows = cache(partial(tabulate_scores, ws, summary, MOST_LOGGED // (ends * max(1, summary["num_queries"]))))
    return Results(summary, headline, drawn, table, list_files, lambda: rows() or {})


def pictures(ws: Workspace, artifacts: dict[str, str]) -> dict[str, Callable[[], Picture]]:
    """What draws a grid of each set of generated images that is still stored."""
    stored = {role: name for role, name in artifacts.items() if role in PICTURES and is_stored(ws, name)}
    return {role: partial(draw_artifact, ws, name) for role, name in stored.items()}


def is_stored(ws: Workspace, name: str) -> bool:
    """Whether an artifact of that name is there."""
    return (ws.store.root / name).is_dir()


def draw_artifact(ws: Workspace, name: str) -> Picture:
    """A grid of the images that an artifact holds."""
    from tdattr.pictures import grid  # torchvision takes a second to import

    return grid(load_images(find(ws.store.root, name)))


def draw_table(table: dict[str, list[Any]]) -> Picture:
    """A row for every query: its image, and the images with the highest scores."""
    from tdattr.pictures import grid

    columns = [table["image"], *(table[f"{rank}"] for rank in range(1, SHOWN + 1) if f"{rank}" in table)]
    tiles = [tile for row in zip(*columns, strict=True) for tile in row]
    return grid(unpack(np.stack(tiles)), len(columns))


def tabulate(ws: Workspace, summary: dict[str, Any], evaluation: Path) -> dict[str, list[Any]]:
    """A row for every query: its image, that after the removal, what the protocol and the method say of it, and the
    items with the highest scores, each with its image; of groups the first item."""
    from tdattr.pictures import to_uint8

    names = summary["artifacts"]
    artifact = find(ws.store.root, names["scores"])
    scores = choose_damping(load_scores(artifact), summary)
    count = len(scores.values)
    table: dict[str, list[Any]] = {"query": list(range(count))}
    for column, role in (("image", "queries"), ("regenerated", "regenerated")):
        if role in names and is_stored(ws, names[role]):
            images = load_images(find(ws.store.root, names[role]))[ws.queries.indices]
            table[column] = list(to_uint8(images))
    for stored in (read_table(evaluation / TABLE), read_table(artifact.folder / TABLE)):
        for name in stored.columns:
            if name not in (*table, "role"):
                table[str(name)] = stored[name].iloc[:count].tolist()
    order = torch.argsort(scores.values, dim=1, descending=True, stable=True)[:, :SHOWN]
    targets = scores.ids if scores.groups is None else np.array([ws.groups[name][0] for name in scores.groups])
    kind, known = ("id", scores.ids) if scores.groups is None else ("group", np.array(scores.groups))
    for rank, column in enumerate(order.T, start=1):
        table[f"{rank}"] = list(to_uint8(ws.data.train.images(targets[column.numpy()])))
        table[f"{rank} {kind}"] = known[column.numpy()].tolist()
        table[f"{rank} score"] = scores.values.gather(1, column[:, None])[:, 0].tolist()
    return table
