"""Queries from prompts that are no items of the dataset: they stand in the place of a test split."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tdattr.data.prepared import Prepared, Split
from tdattr.data.prompt_file import KEY, read_prompt_file
from tdattr.errors import UserError
from tdattr.features import Setting, identity_of_text
from tdattr.features.text import TextEncoder
from tdattr.files import expand
from tdattr.queries import QueriesConfig
from tdattr.store import Plan, Store

FILE = "conditions.npy"
OWN = ("id", "condition_from", "query", "role")


def read_prompts(queries: QueriesConfig) -> list[dict[str, str]]:
    """The prompts of queries, each with what else is known of it; none where conditions are those of items, or of the
    user's own pictures.

    Raises UserError where they cannot be read.
    """
    if queries.images is not None:
        return []
    if queries.prompt is not None:
        return [{KEY: queries.prompt}]
    if queries.prompts is None:
        return []
    return read_prompt_file(expand(queries.prompts), queries.where or {})


def digest_prompts(rows: list[dict[str, str]]) -> str:
    """What stands for them in an address."""
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def check_prompts(rows: list[dict[str, str]], text: TextEncoder | None) -> None:
    """Raise UserError where nothing makes conditions of prompts, or one of these cannot be encoded."""
    if rows and text is None:
        raise UserError(
            "queries.prompts and queries.prompt need a model whose conditions are made of prompts: choose "
            "+text@dataset.text=…, or take conditions from the dataset's items."
        )
    if rows and text is not None:
        text.check(row[KEY] for row in rows)


def describe_text(text: TextEncoder, setting: Setting) -> dict[str, Any]:
    """All that the conditions of prompts depend on besides the prompts."""
    return text.describe() | {"identity": identity_of_text(text, setting)}


def plan_conditions(store: Store, rows: list[dict[str, str]], text: TextEncoder, device: torch.device) -> Plan:
    """The conditions of these prompts."""

    def make(folder: Path) -> None:
        np.save(folder / FILE, text.load(device)([row[KEY] for row in rows]))

    inputs = {f"text/{name}": value for name, value in text.identity().items()} | {"prompts": digest_prompts(rows)}
    return store.plan("prompts", 1, {"text": text.describe()}, inputs, make)


def make_split(rows: list[dict[str, str]], conditions: np.ndarray, data: Prepared) -> Split:
    """Items that are nothing but prompts, whose images are blank."""
    import pandas as pd

    items = pd.DataFrame(
        {"id": range(len(rows))} | {key: [row.get(key, "") for row in rows] for key in list_keys(rows)}
    )
    blank = np.broadcast_to(np.zeros((), np.uint8), (len(rows), *data.train.pixels.shape[1:]))
    return Split(blank, conditions[:, None], items)


def list_keys(rows: list[dict[str, str]]) -> list[str]:
    """All keys, in the order in which they come, but for those that a table of queries has of its own."""
    return list(dict.fromkeys(key for row in rows for key in row if key not in OWN))
