"""CLIP's tokenizer, from the files of a published CLIP or of a pipeline: from texts to token ids."""

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from tdattr.errors import Unavailable, UserError, first_line
from tdattr.files import digest_once, expand
from tdattr.pretrained import find_folder

# the files of published folders, and the one that newer versions of transformers write
LAYOUTS = (("vocab.json", "merges.txt"), ("tokenizer.json",))
# what transformers reads too where it is there: each of them can change the ids of a text
EXTRAS = ("tokenizer_config.json", "tokenizer.json", "special_tokens_map.json", "added_tokens.json")
STATE = ("truncation", "padding")  # what a tokenizer keeps of how it was last called


def find_tokenizer(
    weights: str, setting: str, inside: str = "", needed: tuple[str, ...] = ()
) -> tuple[Path, tuple[str, ...]]:
    """The folder or, fetched where it must be, the hub repository ``weights``, and the names there of all files that
    its tokenizer is read from.

    ``inside``: the start of their names, such as ``tokenizer/``; ``needed``: those that must be there besides the
    tokenizer's own. Raises UserError where one is missing; ``setting`` is the config key by which another folder is
    given.
    """
    errors = []
    for layout in LAYOUTS:
        files = [f"{inside}{name}" for name in (*needed, *layout)]
        extras = [f"{inside}{name}" for name in EXTRAS]
        try:
            root = find_folder(weights, files, setting, True, extras)
        except Unavailable as error:
            errors.append(error)
            continue
        return root, (*files, *(name for name in extras if name not in files and (root / name).is_file()))
    raise errors[0]


def identify(weights: str, root: Path, files: Iterable[str], inside: str = "", length: bool = True) -> dict[str, str]:
    """What stands for ``files`` that ``find_tokenizer`` has found in addresses: the digest of each.

    A machine may have any of the optional files of a hub repository. There what the tokenizer makes of texts takes the
    place of its files. ``length``: whether it cuts texts itself, so that to how many tokens matters. Raises UserError
    where it cannot be read.
    """
    found = {name: digest_once(root / name) for name in files}
    if expand(weights).is_dir():
        return found
    own = {f"{inside}{name}" for name in (*EXTRAS, *(name for layout in LAYOUTS for name in layout))}
    rules = describe(load_tokenizer(root / inside))
    if not length:
        del rules["length"]
    computed = hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()
    return {name: value for name, value in found.items() if name not in own} | {f"{inside}tokenizer": computed}


@lru_cache(maxsize=8)
def load_tokenizer(folder: Path) -> Any:
    """The tokenizer whose files lie in a folder. Raises UserError where it cannot be read."""
    from transformers import CLIPTokenizer  # takes seconds to import

    try:
        return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # readers of damaged files raise all sorts of things
        raise UserError(f"{folder} holds no CLIP tokenizer ({first_line(error)}): fetch it again.") from error


def tokenize(tokenizer: Any, texts: list[str]) -> Int[np.ndarray, "text tokens"]:
    """The token ids of texts, padded and cut to the number of tokens that the text encoder takes; int32."""
    ids = tokenizer(
        texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="np"
    )["input_ids"]
    return np.asarray(ids, np.int32)


def gives_same_ids(first: Any, second: Any) -> bool:
    """Whether two tokenizers make the same token ids of every text, whichever files they were read from."""
    return describe(first) == describe(second)


def describe(tokenizer: Any) -> dict[str, Any]:
    """All that the token ids of a text depend on: vocabulary, merges and rules, length and padding."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    used = {name: value for name, value in rules.items() if name not in STATE}
    return used | {"length": tokenizer.model_max_length, "pad": tokenizer.pad_token_id}
