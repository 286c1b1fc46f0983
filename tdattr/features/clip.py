"""CLIP (Radford et al. 2021): vectors of images and of texts, from a folder in the form of ``transformers``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.data.preparation import Encode
from tdattr.errors import UserError, first_line
from tdattr.features import Embed, Extractor, Images, Setting
from tdattr.features.pixels import standardise
from tdattr.features.text import TextEncoder
from tdattr.files import digest_once
from tdattr.networks.clip_tokenizer import find_tokenizer, identify, load_tokenizer
from tdattr.pretrained import find_folder
from tdattr.progress import track
from tdattr.ranges import Count
from tdattr.tables import read_json
from tdattr.wording import counted

CONFIG = "config.json"
IMAGE_FILES = [CONFIG, "preprocessor_config.json"]


@dataclass(frozen=True)
class ClipImage(Extractor):
    """Vectors of images. ``weights``: a folder or hub id; ``file``: the one of its files that holds the tensors.

    ``output``: ``projected`` into the space shared with texts, or ``pooled`` before that.
    """

    unaddressed: ClassVar = ("name", "weights")
    packages: ClassVar = ("transformers",)

    name: str
    weights: str
    file: str
    output: Literal["projected", "pooled"]

    def folder(self, setting: Setting) -> Path:
        """The folder of the model. Raises UserError where a file is missing."""
        files = [self.file, *IMAGE_FILES]
        return find_folder(self.weights, files, f"`weights` of extractor {self.name}", setting.download)

    def identity(self, setting: Setting) -> Mapping[str, str]:
        """The digest of every file."""
        folder = self.folder(setting)
        return {name: digest_once(folder / name) for name in (self.file, *IMAGE_FILES)}

    def load(self, setting: Setting) -> Embed:
        """Resized to the size, and standardised as, ``preprocessor_config.json`` says; images are square already."""
        folder = self.folder(setting)
        model = load_model(folder, self.file).to(setting.device)
        size, mean, std = preprocessing(folder)

        def embed(images: Images) -> torch.Tensor:
            pooled = model.vision_model(pixel_values=standardise(images, size, mean, std)).pooler_output
            return model.visual_projection(pooled) if self.output == "projected" else pooled

        return embed


@dataclass(frozen=True)
class ClipText(TextEncoder):
    """Projected vectors of texts, of length 1. ``width``: how many numbers they have, for plan=true without the
    weights."""

    unaddressed: ClassVar = ("name", "weights", "batch_size", "width")

    name: str
    weights: str
    file: str
    batch_size: Count
    width: Count

    def find(self) -> tuple[Path, tuple[str, ...]]:
        """The folder of the model, and the files in it that are read. Raises UserError where one is missing."""
        return find_tokenizer(self.weights, f"`weights` of text {self.name}", needed=(self.file, CONFIG))

    def identity(self) -> Mapping[str, str]:
        """The digest of every file; the tokenizer of a hub repository by what it computes."""
        return identify(self.weights, *self.find(), length=False)

    def load(self, device: torch.device) -> Encode:
        """A function from texts to float32 [text, size]; texts longer than the model's context are cut off."""
        folder, _ = self.find()
        model = load_model(folder, self.file).to(device)
        tokenizer = load_tokenizer(folder)
        context = model.config.text_config.max_position_embeddings

        def embed(tokens: Mapping[str, Tensor]) -> Tensor:
            return model.text_projection(model.text_model(**tokens).pooler_output)

        return make_encode(tokenizer, context, embed, self.batch_size, device)


def make_encode(
    tokenizer: Any,
    context: int,
    embed: Callable[[Mapping[str, Tensor]], Float[Tensor, "text size"]],
    batch_size: int,
    device: torch.device,
) -> Encode:
    """From texts, cut off at ``context`` tokens, to float32 vectors of length 1; ``embed`` gives those of tokens."""

    def encode(texts: list[str]) -> Float[np.ndarray, "text size"]:
        parts = []
        for start in track(range(0, len(texts), batch_size), "Texts", -(-len(texts) // batch_size), True):
            tokens = tokenizer(
                texts[start : start + batch_size],
                padding="max_length",
                max_length=context,
                truncation=True,
                return_tensors="pt",
            ).to(device)
            with torch.inference_mode():
                parts.append(torch.nn.functional.normalize(embed(tokens).float(), dim=1).cpu().numpy())
        return np.concatenate(parts)

    return encode


def load_model(folder: Path, file: str) -> Any:
    """The CLIP model whose tensors are in that file, in evaluation mode. Raises UserError where it is another one."""
    from safetensors.torch import load_file
    from transformers import CLIPConfig, CLIPModel

    path = folder / file
    try:
        model = CLIPModel(CLIPConfig.from_pretrained(folder, local_files_only=True))
        tensors = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        missing = model.load_state_dict(tensors, strict=False).missing_keys
    except Exception as error:  # readers of damaged files raise all sorts of things
        raise UserError(f"{path} holds no CLIP model ({first_line(error)}): delete it and fetch it again.") from error
    if missing:
        raise UserError(
            f"{path} lacks {counted(len(missing), 'tensor')} of the model, first {missing[0]}: fetch it again."
        )
    return model.float().eval().requires_grad_(False)


def preprocessing(folder: Path) -> tuple[int, list[float], list[float]]:
    """Size, mean and standard deviation from ``preprocessor_config.json``. Raises UserError where they are missing."""
    path = folder / "preprocessor_config.json"
    content = read_json(path, "fetch it again")
    try:
        size = content["size"]
        if isinstance(size, dict):
            size = size["shortest_edge"] if "shortest_edge" in size else min(size["height"], size["width"])
        return int(size), [float(value) for value in content["image_mean"]], [float(v) for v in content["image_std"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not hold size, image_mean and image_std ({type(error).__name__}: {error}): fetch it again."
        ) from error
