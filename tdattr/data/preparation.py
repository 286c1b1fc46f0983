"""From raw files to the prepared form of a dataset: block by block, in parallel, resumed after an interruption."""

import csv
import hashlib
import json
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from tdattr.data.names import show_bytes, show_name
from tdattr.data.prepared import FACTS, SPLITS, Counts, Example, Source, Split, find_damage, read_split
from tdattr.data.strips import cut_lines
from tdattr.errors import UserError
from tdattr.files import digest_once, move_into_place, name_aside, write_json
from tdattr.jobs import count_cores
from tdattr.progress import Bar
from tdattr.rows import Rows
from tdattr.tables import REBUILD, quote_formula, read_rows, write_table
from tdattr.wording import counted

log = logging.getLogger(__name__)
BLOCK = 512  # items read, encoded and written at a time
UNREADABLE = "unreadable.csv"  # a row for every image that cannot be read: its split, its index in it, and why
SKIP = ", or leave them out with dataset.source.unreadable=skip"
Unreadable = list[tuple[str, int, str]]  # the rows of that table
Encode = Callable[[list[str]], Shaped[np.ndarray, "text *condition"]]


def prepare(
    source: Source,
    folder: Path,
    description: str,
    encode: Encode | None = None,
    counts: Counts | None = None,
) -> None:
    """Write the prepared form of ``source`` into ``folder``, block by block, with a progress bar.

    Images are read by as many threads as there are cores; no more than three blocks of items are held in memory. A call
    that was interrupted is resumed by the next one for the same folder. ``encode`` makes the conditions, one variant a
    prompt. ``counts``: how many items train and test must have.

    Images that cannot be read are listed in the file ``UNREADABLE``. Where the source leaves them out, all images are
    read twice, first to find them; the facts have their number.

    Raises UserError where there are more or fewer, the source cannot be read, its images or conditions differ in shape
    or type, its train split is empty, or images cannot be read, once all have been tried.
    """
    left_out = find_left_out(source, folder, description) if source.skips_unreadable else {}
    sizes = {split: source.count(split) - len(left_out.get(split, ())) for split in SPLITS}
    if not sizes["train"]:
        raise UserError(f"{description} has no training images.")
    check_counts(sizes, counts, description)
    if (folder / FACTS).exists() and not find_damage(folder):  # an interrupted call had written everything
        return
    for split in SPLITS:
        if sizes[split] and not is_complete(folder, split, sizes[split]):
            examples = keep_readable(source.examples(split), left_out.get(split, set()))
            unreadable = prepare_split(
                source, split, examples, sizes[split], folder, f"{description} ({split})", encode
            )
            if unreadable:
                others = [find_unreadable(source, other, description) for other in SPLITS[SPLITS.index(split) + 1 :]]
                refuse_unreadable(source, sum(others, unreadable), folder, description)
    facts: dict[str, Any] = {"count": sizes}
    if left_out:
        facts["unreadable"] = sum(map(len, left_out.values()))
    else:
        (folder / UNREADABLE).unlink(missing_ok=True)
    files = sorted(path for split in SPLITS for path in folder.glob(f"{split}_*"))
    facts["files"] = {path.name: digest_once(path) for path in files}
    facts["content"] = hashlib.sha256(json.dumps(facts["files"], sort_keys=True).encode()).hexdigest()
    write_json(folder / FACTS, facts)


def is_complete(folder: Path, split: str, count: int) -> bool:
    """Whether an interrupted call has written the whole of a split, and it is as it was written."""
    return (folder / f"{split}_items.csv").exists() and Rows(folder, split, count).done == count


def check_counts(sizes: Mapping[str, int], expected: Counts | None, description: str) -> None:
    """Raise UserError where a split does not have the expected number of items."""
    for split in SPLITS if expected is not None else ():
        count = getattr(expected, split)
        if count is not None and sizes[split] != count:
            raise UserError(
                f"{description} should have {counted(count, 'item')} in {split} but {sizes[split]} were found: "
                "complete its files, or accept them as they are with dataset.counts=null."
            )


def find_left_out(source: Source, folder: Path, description: str) -> dict[str, set[int]]:
    """The indices of the images of each split that cannot be read; they are listed in a file, which a call that
    resumes reads."""
    if not (folder / UNREADABLE).exists():
        write_unreadable([row for split in SPLITS for row in find_unreadable(source, split, description)], folder)
    left_out: dict[str, set[int]] = {}
    for row in read_rows(folder / UNREADABLE, ["split", "index"], REBUILD):
        left_out.setdefault(row.cells["split"], set()).add(int(row.cells["index"]))
    return left_out


def find_unreadable(source: Source, split: str, description: str) -> Unreadable:
    """The images of a split that cannot be read. All are tried, and none is kept."""
    unreadable: Unreadable = []
    count, index = source.count(split), 0
    if not count:
        return []
    bar = Bar(f"Trying the images of {description} ({split})", count)
    with ThreadPoolExecutor(count_cores()) as readers:
        for block, reading in read_ahead(source.examples(split), readers):
            unreadable += list_failures(reading, split, index)
            index += len(block)
            bar.advance(len(block))
    bar.close()
    return unreadable


def list_failures(reading: Sequence[Future[np.ndarray]], split: str, first: int) -> Unreadable:
    """Those of a block of images, which begins at index ``first``, that could not be read."""
    errors = [(index, future.exception()) for index, future in enumerate(reading, start=first)]
    return [(split, index, str(error)) for index, error in errors if isinstance(error, UserError)]


def keep_readable(examples: Iterable[Example], left_out: Collection[int]) -> Iterator[Example]:
    """The examples but for those with these indices."""
    return (example for index, example in enumerate(examples) if index not in left_out)


def write_unreadable(unreadable: Unreadable, folder: Path) -> Path:
    """The file that lists them."""
    import pandas as pd

    table = pd.DataFrame(unreadable, columns=["split", "index", "problem"])
    path = folder / UNREADABLE
    write_table(name_aside(path), table.assign(problem=table["problem"].map(show_name).map(quote_formula)))
    move_into_place(name_aside(path), path)
    return path


def refuse_unreadable(source: Source, unreadable: Unreadable, folder: Path, description: str) -> None:
    """Raise UserError with the first of them, and say where all are listed."""
    path = write_unreadable(unreadable, folder)
    for other in SPLITS:  # mended files are another dataset, prepared anew
        Rows(folder, other, 0).discard()
    skip = SKIP if source.skips_unreadable is False else ""
    raise UserError(
        f"{counted(len(unreadable), 'image')} of {description} cannot be read, mend or remove them{skip} ({path} "
        f"lists them), first: {unreadable[0][2]}"
    )


def prepare_split(
    source: Source,
    split: str,
    readable: Iterator[Example],
    count: int,
    folder: Path,
    description: str,
    encode: Encode | None,
) -> Unreadable:
    """One split of ``prepare``; its table of items is written last and says that it is complete. What is returned is
    not empty where images could not be read: then nothing is left behind."""
    import pandas as pd

    rows = Rows(folder, split, count)
    train = None if split == "train" else read_split(folder, "train")
    items: list[dict[str, Any]] = []
    examples = collect_rows(readable, items)
    unreadable: Unreadable = []
    tried = rows.done
    if rows.done:
        log.info("Preparing %s resumes after %d of %d items.", description, rows.done, count)
    bar = Bar(f"Preparing {description}", count, min(rows.done, count))
    deque(islice(examples, rows.done), maxlen=0)  # an interrupted call has written these
    with closing(bar), ThreadPoolExecutor(count_cores()) as readers:
        for block, reading in read_ahead(examples, readers):
            unreadable += list_failures(reading, split, tried)
            tried += len(block)
            if not unreadable:
                images = [future.result() for future in reading]
                stored = stack_conditions(block, rows, train, encode, description)
                if source.window is None:
                    stored |= {"images": stack_images(images, rows, train, description)}
                else:
                    stored |= {"spans": append_strips(images, rows, source.window, description)}
                rows.write(**stored)
            bar.advance(len(block))
    if unreadable:
        return unreadable
    if len(items) != count:
        raise UserError(f"{description} should have {counted(count, 'item')} but {len(items)} were read.")
    path = folder / f"{split}_items.csv"
    pd.DataFrame(items).to_csv(name_aside(path), index=False, quoting=csv.QUOTE_ALL)
    move_into_place(name_aside(path), path)
    return []


def collect_rows(examples: Iterable[Example], rows: list[dict[str, Any]]) -> Iterator[Example]:
    """Pass the examples on, and append the row of each in the table of items to ``rows``."""
    for index, example in enumerate(examples):
        prompts = {f"prompt{number or ''}": prompt for number, prompt in enumerate(example.prompts)}
        known = {key: show_bytes(value) for key, value in (prompts | dict(example.fields)).items()}
        rows.append({"id": index, **known})
        yield example


def read_ahead(
    examples: Iterator[Example], readers: ThreadPoolExecutor
) -> Iterator[tuple[list[Example], list[Future[np.ndarray]]]]:
    """Blocks of examples with the reading of their images, begun one block before it is needed."""
    begun: deque[tuple[list[Example], list[Future[np.ndarray]]]] = deque()
    while block := list(islice(examples, BLOCK)):
        begun.append((block, [readers.submit(example.read) for example in block]))
        if len(begun) > 1:
            yield begun.popleft()
    yield from begun


def stack_images(images: list[np.ndarray], rows: Rows, train: Split | None, description: str) -> np.ndarray:
    """The images of a block. Raises UserError for one whose shape or type is not that of the dataset's first item."""
    first = stored_arrays(train, rows).get("images", images[0])
    check_alike(images, first, rows.done, f"{description}: the image")
    check_pixels(images, rows.done, description)
    return np.stack(images)


def append_strips(images: list[np.ndarray], rows: Rows, window: int, description: str) -> Int[np.ndarray, "item 3"]:
    """Write the images of a block as strips; their spans, as ``Strips`` has them. Raises UserError for an image whose
    shorter side is not ``window``."""
    sides = np.array([image.shape[:2] for image in images], np.int64)
    for index, (height, width) in enumerate(sides.tolist(), start=rows.done):
        if min(height, width) != window:
            raise UserError(
                f"{description}: the image of item {index} has {height} x {width} pixels; its shorter side must have "
                f"{window}."
            )
    check_pixels(images, rows.done, description)
    lengths = sides.max(axis=1)
    firsts = rows.lengths.get("images", 0) + np.cumsum(lengths) - lengths
    rows.append("images", np.concatenate([cut_lines(image) for image in images]))
    return np.column_stack([firsts, sides])


def stack_conditions(
    block: list[Example], rows: Rows, train: Split | None, encode: Encode | None, description: str
) -> dict[str, np.ndarray]:
    """The conditions of a block, [item, variant, *shape], unless the dataset is unconditional.

    ``train``: the training split, once it is complete. Raises UserError for shapes and types that differ from those of
    the dataset's first item.
    """
    conditions = [example.condition for example in block]
    if encode is not None:
        conditions = encode_prompts(block, rows.done, encode, description)
    first = stored_arrays(train, rows).get("conditions", conditions[0])
    check_alike(conditions, first, rows.done, f"{description}: the condition")
    given = [condition for condition in conditions if condition is not None]
    check_finite(conditions, rows.done, description)
    return {"conditions": np.stack(given)} if given else {}


def encode_prompts(block: list[Example], done: int, encode: Encode, description: str) -> list[np.ndarray | None]:
    """The conditions of a block, which begins at item ``done``: one for each prompt. Raises UserError where an item has
    no prompt."""
    bare = next((index for index, example in enumerate(block) if not example.prompts), None)
    if bare is not None:
        raise UserError(
            f"{description}: item {done + bare} has no prompt to make a condition of: give captions, or set "
            "dataset.text=null."
        )
    conditions = encode([prompt for example in block for prompt in example.prompts])
    return list(np.split(conditions, np.cumsum([len(example.prompts) for example in block])[:-1]))


def stored_arrays(train: Split | None, rows: Rows) -> dict[str, np.ndarray | None]:
    """The arrays of an item that has been stored; none where this is the first."""
    if train is not None:
        return {"images": train.pixels[0], "conditions": None if train.conditions is None else train.conditions[0]}
    if rows.done:
        return {key: rows.arrays[key][0] if key in rows.arrays else None for key in ("images", "conditions")}
    return {}


def check_alike(arrays: Sequence[np.ndarray | None], expected: np.ndarray | None, done: int, subject: str) -> None:
    """Raise UserError where one of the arrays, which begin at item ``done``, differs in shape or type."""
    for kind, attribute in (("shape", "shape"), ("type", "dtype")):
        expected_value = getattr(expected, attribute, None)
        for index, array in enumerate(arrays, start=done):
            actual = getattr(array, attribute, None)
            if actual != expected_value:
                raise UserError(f"{subject} of item {index} has {kind} {actual}, not {expected_value}.")


def check_pixels(images: Sequence[np.ndarray], done: int, description: str) -> None:
    """Raise UserError where one of the images, which begin at item ``done``, does not hold bytes."""
    for index, image in enumerate(images, start=done):
        if image.dtype != np.uint8:
            raise UserError(
                f"{description}: the image of item {index} holds {image.dtype}; a source gives pixels from 0 to 255 as "
                "uint8."
            )


def check_finite(conditions: Sequence[np.ndarray | None], done: int, description: str) -> None:
    """Raise UserError where one of the conditions, which begin at item ``done``, holds numbers that are not finite."""
    for index, condition in enumerate(conditions, start=done):
        if condition is not None and not np.isfinite(condition).all():
            raise UserError(
                f"{description}: the condition of item {index} holds numbers that are not finite: mend its source or "
                "its text encoder."
            )
