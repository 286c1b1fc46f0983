"""CLIP (Radford et al. 2021): vectors of images and of texts, from a folder in the form of ``transformers``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from tdattr.data.prepared import Encode
from tdattr.errors import UserError
from tdattr.features import Embed, Images, Setting
from tdattr.features.pixels import standardised
from tdattr.features.weights import fingerprint, folder
from tdattr.report.progress import track

IMAGE_FILES = ["config.json", "preprocessor_config.json"]
TEXT_FILES = ["config.json", "tokenizer_config.json", "vocab.json", "merges.txt"]
OUTPUTS = ("projected", "pooled")


@dataclass(frozen=True)
class ClipImage:
    """Vectors of images. ``weights``: a folder or hub id; ``file``: the one of its files that holds the tensors.

    ``output``: ``projected`` into the space shared with texts, or ``pooled`` before that.
    """

    name: str
    weights: str
    file: str
    output: str

    def __post_init__(self) -> None:
        if self.output not in OUTPUTS:
            raise UserError(f"extractor.output={self.output} is unknown: choose one of {', '.join(OUTPUTS)}.")

    def place(self, setting: Setting) -> Path:
        """The folder of the model. Raises UserError where a file is missing."""
        return folder(self.weights, [self.file, *IMAGE_FILES], f"`weights` of extractor {self.name}", setting.download)

    def identity(self, setting: Setting) -> Mapping[str, str]:
        """The digest of every file."""
        place = self.place(setting)
        return {name: fingerprint(place / name) for name in (self.file, *IMAGE_FILES)}

    def load(self, setting: Setting) -> Embed:
        """Resized to the size, and standardised as, ``preprocessor_config.json`` says; images are square already."""
        place = self.place(setting)
        model = load_model(place).to(setting.device)
        size, mean, std = preprocessing(place)

        def embed(images: Images) -> torch.Tensor:
            pooled = model.vision_model(pixel_values=standardised(images, size, mean, std)).pooler_output
            return model.visual_projection(pooled) if self.output == "projected" else pooled

        return embed


@dataclass(frozen=True)
class ClipText:
    """The ``dataset.text`` node: projected vectors of texts, of length 1, as the conditions of a dataset."""

    name: str
    weights: str
    file: str
    batch_size: int

    def place(self) -> Path:
        """The folder of the model. Raises UserError where a file is missing."""
        return folder(self.weights, [self.file, *TEXT_FILES], "dataset.text.weights", True)

    def identity(self) -> Mapping[str, str]:
        """The digest of every file."""
        place = self.place()
        return {name: fingerprint(place / name) for name in (self.file, *TEXT_FILES)}

    def load(self, device: torch.device) -> Encode:
        """A function from texts to float32 [text, size]; texts longer than the model's context are cut off."""
        from transformers import AutoTokenizer

        place = self.place()
        model = load_model(place).to(device)
        tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True)
        context = model.config.text_config.max_position_embeddings

        def encode(texts: list[str]) -> Float[np.ndarray, "text size"]:
            parts = []
            for start in track(range(0, len(texts), self.batch_size), "Texts", -(-len(texts) // self.batch_size), True):
                tokens = tokenizer(
                    texts[start : start + self.batch_size],
                    padding="max_length",
                    max_length=context,
                    truncation=True,
                    return_tensors="pt",
                ).to(device)
                with torch.inference_mode():
                    vectors = model.text_projection(model.text_model(**tokens).pooler_output)
                    parts.append(torch.nn.functional.normalize(vectors.float(), dim=1).cpu().numpy())
            return np.concatenate(parts)

        return encode


def load_model(place: Path) -> Any:
    """The CLIP model in a folder, in evaluation mode. Raises UserError where the files are damaged."""
    from transformers import CLIPModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return CLIPModel.from_pretrained(place, local_files_only=True, dtype=torch.float32).eval().requires_grad_(False)
    except Exception as error:  # readers of damaged files raise all sorts of things
        raise UserError(
            f"{place} holds no CLIP model ({str(error).splitlines()[0]}): delete it and fetch it again."
        ) from error


def preprocessing(place: Path) -> tuple[int, list[float], list[float]]:
    """Size, mean and standard deviation from ``preprocessor_config.json``."""
    content = json.loads((place / "preprocessor_config.json").read_text())
    size = content["size"]
    return size["shortest_edge"] if isinstance(size, dict) else size, content["image_mean"], content["image_std"]
