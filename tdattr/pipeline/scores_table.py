"""A run's highest and lowest scores as one table in long format, for pandas, FiftyOne, Spotlight and their like."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tdattr.data.groups import list_owners
from tdattr.data.names import FIELD, call_query, describe_item
from tdattr.data.prepared import Source
from tdattr.experiments import ITSELF
from tdattr.pipeline.attribute import attribute
from tdattr.pipeline.generate import generate
from tdattr.pipeline.train import train
from tdattr.pipeline.workspace import Workspace
from tdattr.queries import TABLE
from tdattr.scores import Scores, choose_damping, load_scores
from tdattr.tables import DataFrame, read_frame

if TYPE_CHECKING:
    import pyarrow

SCORES = "scores.parquet"  # in a run's folder
MOST_ROWS = 1000  # of each query: those with the highest scores, and as many with the lowest
COLUMNS = {  # and their types in Parquet; what is not known is null
    "query": "int32",
    "query_caption": "string",
    "query_path": "string",
    "rank": "int32",
    "item": "int64",
    "item_caption": "string",
    "item_path": "string",
    "group": "string",
    "method": "string",
    "seed": "int64",
    "score": "float32",
    "standard_error": "float32",
}


def tabulate_scores(
    ws: Workspace, summary: Mapping[str, Any] | None = None, most: int = MOST_ROWS
) -> dict[str, list[Any]] | None:
    """The columns of ``COLUMNS``: of every query the ``most`` highest scores, and where a score below zero counts
    against it as many of the lowest, best first; of a race those that it has decided. ``item`` is null where groups are
    scored; ``group`` is the one that is scored, or the item's. Of several dampings those scores that ``summary`` says
    are best. None where the scores or queries are not stored any more, or no damping is the best one. No score is NaN,
    as `check_scored` refuses those that are not finite before they are stored: torch would sort them before the
    highest."""
    scored, queries = attribute(ws), generate(ws, train(ws))
    if not (scored.finished and queries.finished):
        return None
    scores = load_scores(scored.artifact)
    if scores.dampings is not None and (summary is None or "damping" not in summary):
        return None
    scores = choose_damping(scores, summary or {})
    known = most if scores.decided is None else min(most, scores.decided)
    ranks, order = scores.rank(known, most if ws.method.signed else 0)
    count, length = order.shape
    column, query = order.numpy().ravel(), np.repeat(np.arange(count), length)
    captions, paths = tell_queries(ws, read_frame(queries.artifact.folder / TABLE).iloc[ws.queries.indices])
    errors = scores.standard_errors
    return {
        "query": query.tolist(),
        "query_caption": pick(captions, query),
        "query_path": pick(paths, query),
        "rank": ranks.tolist() * count,
        **tell_targets(ws, scores, column),
        "method": [ws.method.name] * len(query),
        "seed": [ws.seed] * len(query),
        "score": scores.values.gather(1, order).ravel().tolist(),
        "standard_error": [None] * len(query) if errors is None else errors.gather(1, order).ravel().tolist(),
    }


def tell_queries(ws: Workspace, rows: DataFrame) -> tuple[list[str], list[str | None]]:
    """What each query is called, and the file of a picture of the user's."""
    told = None if ws.data.train.conditions is None else ("prompt" if ws.dataset.text is not None else "condition")
    records = rows.to_dict("records")
    if ws.queries.explained == ITSELF:
        return [ITSELF], [None]
    captions = [call_query(row, index, told, bool(ws.pictures)) for index, row in enumerate(records)]
    return captions, [str(ws.pictures[row[FIELD]].absolute()) if ws.pictures else None for row in records]


def tell_targets(ws: Workspace, scores: Scores, columns: np.ndarray) -> dict[str, list[Any]]:
    """The item, what it is called, its file, where it has one, and the group of each target."""
    if scores.groups is not None:
        nothing = [None] * len(columns)
        names = {"item": nothing, "item_caption": nothing, "item_path": nothing}
        return {**names, "group": pick(scores.groups, columns)}
    items = ws.data.train.items
    ids, places = np.unique(scores.ids[columns], return_inverse=True)
    rows = items.iloc[ids].to_dict("records")
    owners = [name for _, name in sorted(list_owners(items, ws.dataset.groups))] if ws.dataset.groups else None
    return {
        "item": ids[places].tolist(),
        "item_caption": pick([describe_item(row) for row in rows], places),
        "item_path": pick([find_file(ws.dataset.source, row.get(FIELD)) for row in rows], places),
        "group": [None] * len(columns) if owners is None else pick([owners[index] for index in ids], places),
    }


def find_file(source: Source, name: str | None) -> str | None:
    """The absolute path of an item's file; None where it has none, or it is not there any more."""
    path = None if name is None else source.file_of(name)
    return str(path.absolute()) if path is not None and path.is_file() else None


def pick(values: Sequence[Any], places: np.ndarray) -> list[Any]:
    """The values at some places, in their order."""
    return [values[place] for place in places.tolist()]


def write_scores(columns: Mapping[str, list[Any]], path: Path) -> None:
    """Write the table as Parquet, its texts once each (zstd)."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table(columns, schema=schema())
    pyarrow.parquet.write_table(table, path, compression="zstd")


def schema() -> "pyarrow.Schema":
    """The names and types of the columns."""
    import pyarrow

    return pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in COLUMNS.items()])
