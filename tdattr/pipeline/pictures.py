"""Queries that are pictures of the user's own: which they are, what they show, and what networks see of them."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from tdattr.costs import NUMBER_BYTES, Cost, Work
from tdattr.data.conditions import MOST_SHOWN, check_named, find_condition, list_words, name_conditions
from tdattr.data.image_folder import read_captions
from tdattr.data.images import MODES, open_image, read_image
from tdattr.data.listing import list_folder
from tdattr.data.names import FIELD, show_name
from tdattr.data.picture_names import find_alike, is_mute, list_values, read_words
from tdattr.data.prepared import Prepared, Split
from tdattr.data.prompt_file import KEY
from tdattr.errors import UserError
from tdattr.files import expand
from tdattr.queries import TABLE, QueriesConfig, read_paths, save_sampled
from tdattr.store import Plan
from tdattr.tables import DataFrame, write_table
from tdattr.wording import counted, excerpt, name_some, noun

if TYPE_CHECKING:
    from tdattr.pipeline.workspace import Workspace

SETTING = "queries.images"
SHOWN, FROM = "shown", "condition_from"  # of pictures whose conditions are those of items: what was said, and the item
ASK = (
    "say what the pictures show by queries.{}=…, by a file queries.captions=…, or by their names (cat_01.png, "
    "cat/01.png)"
)
MOST_LINES = 10  # that say what names were read as
MOST_NAMED = 5  # pictures in a line


def adopt_pictures(cfg: DictConfig) -> None:
    """Give ``cfg.queries`` as many queries, and no controls, as there are pictures or seeds; nothing where neither is
    given. Raises UserError where pictures are missing."""
    images, seeds = cfg.queries.get("images"), cfg.queries.get("seeds")
    if images is None and seeds is None:
        return
    count = len(seeds) if images is None else len(list_pictures(plain_values(images)))
    with open_dict(cfg.queries):
        cfg.queries.attributed, cfg.queries.controls = count, 0


def plain_values(images: Any) -> Any:
    """The setting as its config holds it, without OmegaConf's lists."""
    return OmegaConf.to_container(images) if OmegaConf.is_config(images) else images


def list_pictures(images: Any) -> dict[str, Path]:
    """The files of the setting, by name: of a folder all images at any depth, sorted, and of a list each in turn; none
    where it is null. Raises UserError for one that is missing, a folder without images, and two of one name."""
    files: dict[str, Path] = {}
    for text in read_paths(images):
        path = expand(text)
        if path.is_dir():
            paths = [(image.name, path / image.name) for image in list_folder(path).images]
            if not paths:
                raise UserError(f"{SETTING}={text} is a folder without pictures: give another one.")
        elif path.is_file():
            paths = [(path.name, path)]
        else:
            raise UserError(f"{SETTING}={text} does not exist: give a picture or a folder of pictures.")
        for spelled, picture in paths:
            if files.setdefault(name := show_name(spelled), picture) is not picture:
                raise UserError(f"{SETTING} has {name} twice: rename one of them.")
    return files


def warn_of_others(images: Any) -> None:
    """Say which files in folders of pictures look like pictures and are not read."""
    for folder in filter(Path.is_dir, map(expand, read_paths(images))):
        list_folder(folder).warn_of_others(folder)


def check_readable(paths: Iterable[Path]) -> None:
    """Raise UserError for a picture that cannot be read. Each is decoded once, for however many methods."""
    for path in paths:
        decode_once(path.absolute())


@cache
def decode_once(path: Path) -> None:
    """Raise UserError where that cannot be; what is wrong is looked at again the next time."""
    open_image(path, MODES[3], smallest=1)


def read_pictures(files: Mapping[str, Path], data: Prepared) -> np.ndarray:
    """The pictures as uint8 [picture, height, width, channel], upright, over white, resized and cropped as images of a
    folder are. Raises UserError for one that cannot be read."""
    return np.stack([read_image(path, data.resolution, data.channels) for path in files.values()])


def tell_prompts(names: Sequence[str], queries: QueriesConfig, items: DataFrame) -> list[dict[str, str]]:
    """The prompt of each picture; ``items``: those of training. Raises UserError where one has none."""
    if queries.condition is not None:
        raise UserError("The conditions of this model are prompts: give queries.prompt in place of queries.condition.")
    if queries.prompt is not None:
        return [{KEY: queries.prompt, FIELD: name} for name in names]
    captions = read_told(names, queries)
    if captions is None:
        known = list_words(items)
        captions = {name: read_words(name, known) or refuse_name(name, "prompt") for name in names}
    return [{KEY: captions[name], FIELD: name} for name in names]


def tell_conditions(names: Sequence[str], queries: QueriesConfig, split: Split) -> list[tuple[str, int]]:
    """For each picture what it shows, and an item of the split with the condition of that. Raises UserError where that
    is not said, or no item shows it."""
    if queries.prompt is not None:
        raise UserError("queries.prompt needs a model whose conditions are prompts: give queries.condition here.")
    known = name_conditions(split)
    if queries.condition is not None:
        return [(queries.condition, find_condition(known, queries.condition, "queries.condition"))] * len(names)
    if (captions := read_told(names, queries)) is not None:
        return [
            (captions[name], find_condition(known, captions[name], f"{queries.captions}: {name}")) for name in names
        ]
    return [find_named(known, name) for name in names]


def find_named(known: Mapping[str, int], name: str) -> tuple[str, int]:
    """What a picture shows by its name, and the item that `name_conditions` has for it. Capital letters do not matter
    where no other part of the name is spelled as a condition is. Raises UserError where its name says nothing, or
    nothing that an item shows."""
    check_named(known, f"The name {name}")
    values = list_values(name)
    exact = (value for value in values if value in known)
    alike = (find_alike(value, known) for value in values)
    if (shown := next(filter(None, chain(exact, alike)), None)) is not None:
        return shown, known[shown]
    if is_mute(PurePosixPath(name).stem):
        refuse_name(name, "condition")
    some = name_some(sorted(known), MOST_SHOWN)
    raise UserError(f"The name {name} has none of the conditions that items have ({some}): {ASK.format('condition')}.")


def refuse_name(name: str, setting: str) -> NoReturn:
    """Raise UserError for a picture whose name says nothing; ``setting``: by which it is said of all pictures."""
    raise UserError(
        f"The name {name} says not what the picture shows, as it is a number, or what a camera or a program calls "
        f"pictures: {ASK.format(setting)}."
    )


def tell_shown(items: DataFrame, queries: QueriesConfig) -> list[str]:
    """What networks are told that pictures show, where only their names have said it: a line for every value, of many
    the first. ``items``: of their split."""
    field = next((field for field in (KEY, SHOWN) if field in items), None)
    if field is None or queries.told:
        return []
    by_value = items.groupby(field, sort=False)[FIELD].agg(list)
    lines = [
        f"{name_some(names, MOST_NAMED)}: shown as {excerpt(str(value))}, by {'its' if len(names) == 1 else 'their'} "
        f"{noun(len(names), 'name')}"
        for value, names in by_value.head(MOST_LINES).items()
    ]
    rest = sum(map(len, by_value[MOST_LINES:]))
    return lines + ([f"{counted(rest, 'other picture')} likewise: see queries.csv of {SETTING}"] if rest else [])


def read_told(names: Sequence[str], queries: QueriesConfig) -> dict[str, str] | None:
    """What the file ``queries.captions`` says of each picture; None where there is none. Raises UserError where it says
    nothing of one."""
    if queries.captions is None:
        return None
    path = expand(queries.captions)
    if not path.is_file():
        raise UserError(
            f"queries.captions={queries.captions} does not exist: give a CSV or JSON file, or leave it out."
        )
    captions = read_captions(path)
    if bare := next((name for name in names if name not in captions), None):
        raise UserError(f"queries.captions={queries.captions} says nothing of {bare}: add it.")
    return captions


def check_untold(queries: QueriesConfig) -> None:
    """Raise UserError where it is said what pictures show, and the model is not told."""
    if queries.told:
        raise UserError(f"queries.{queries.told[0]} has no effect: the model is unconditional, so leave it out.")


def open_pictures(ws: "Workspace") -> Split:
    """The user's pictures as items. Raises UserError for pictures that cannot be read, or do not say what they show."""
    pixels, names, text = read_pictures(ws.pictures, ws.data), list(ws.pictures), ws.dataset.text
    if text is not None:
        rows = tell_prompts(names, ws.queries, ws.data.train.items)
        text.check(row[KEY] for row in rows)
        return make_split(pixels, ws.encode(rows, text), rows)
    train = ws.data.train
    if train.conditions is None:
        check_untold(ws.queries)
        return make_split(pixels, None, [{FIELD: name} for name in names])
    shown = tell_conditions(names, ws.queries, train)
    ids = train.items["id"].tolist()
    rows = [{FIELD: name, SHOWN: value, FROM: ids[item]} for name, (value, item) in zip(names, shown, strict=True)]
    return make_split(pixels, train.conditions[[item for _, item in shown], 0], rows)


def make_split(pixels: np.ndarray, conditions: np.ndarray | None, rows: Sequence[Mapping[str, Any]]) -> Split:
    """Pictures as items, whose ids are their numbers. ``conditions``: [picture, *shape]."""
    import pandas as pd

    items = pd.DataFrame({"id": range(len(rows))} | {key: [row[key] for row in rows] for key in rows[0]})
    return Split(pixels, None if conditions is None else conditions[:, None], items)


def digest_split(split: Split) -> str:
    """What stands for pictures and what they show in an address."""
    digest = hashlib.sha256(split.images(np.arange(len(split))).numpy().tobytes())
    digest.update(b"" if split.conditions is None else np.asarray(split.conditions).tobytes())
    digest.update(json.dumps(split.items.astype(str).to_dict("list")).encode())
    return digest.hexdigest()


def plan_pictures(ws: "Workspace") -> Plan:
    """What a model's ``generate`` artifact holds, of pictures that no model here has generated."""
    split = ws.query_split

    def make(folder: Path) -> None:
        images = split.images(np.arange(len(split)))
        with torch.inference_mode():
            x = ws.codec.x(ws.codec.encode(images.to(ws.device)), None).float().cpu()
        if not x.isfinite().all():
            raise UserError(
                f"{SETTING}: what the codec makes of a picture is not finite: choose another codec.weights."
            )
        save_sampled(folder, x.clone(), images)
        table = split.items.drop(columns="id")
        table.insert(0, FROM, table.pop(FROM) if FROM in table else "")  # prompts are no item's
        table.insert(0, "role", "attributed")
        table.insert(0, "query", range(len(split)))
        write_table(folder / TABLE, table)

    config = {"codec": ws.codec.describe() | {"identity": dict(ws.codec.identity())}}
    size = len(split) * ((1 if not ws.codec.latent else 2) * split.pixels[:1].size * NUMBER_BYTES)
    cost = Cost(Work(looks=len(split), bytes=size))
    return ws.store.plan("pictures", 2, config, {"pictures": ws.pictures_digest}, make, cost=lambda: cost)
