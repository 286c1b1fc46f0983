"""The text encoder of a Stable Diffusion, as vectors by which words are compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from tdattr.data.preparation import Encode
from tdattr.errors import UserError
from tdattr.features.clip import make_encode
from tdattr.features.text import TextEncoder
from tdattr.files import digest_once
from tdattr.networks.prompts import load_encoder
from tdattr.networks.stable_diffusion_folder import ENCODER, find_tokenizer, identify_tokenizer, load_tokenizer
from tdattr.pretrained import find_folder
from tdattr.ranges import Count


@dataclass(frozen=True)
class PipelineText(TextEncoder):
    """Pooled vectors of texts, of length 1: the last hidden state at the end of a text, before any projection.

    ``weights``: the folder or hub id of a pipeline, with ``text_encoder/`` and ``tokenizer/`` in it. ``width``: how
    many numbers they have, for plan=true without the weights.
    """

    unaddressed: ClassVar = ("name", "weights", "batch_size", "width")

    name: str
    weights: str | None
    batch_size: Count
    width: Count

    def find(self) -> tuple[Path, str, str]:
        """The folder of the pipeline; also its ``weights``, and by which setting others are given. Raises UserError
        where a part is missing."""
        if self.weights is None:
            raise UserError(f"The run's model is no pipeline: set `weights` of text {self.name} to a folder or hub id.")
        setting = f"`weights` of text {self.name}"
        folder = find_folder(self.weights, list(ENCODER), setting, True)
        find_tokenizer(self.weights, setting)
        return folder, self.weights, setting

    def identity(self) -> Mapping[str, str]:
        """The digest of every file; the tokenizer of a hub repository by what it computes."""
        folder, weights, setting = self.find()
        return {name: digest_once(folder / name) for name in ENCODER} | identify_tokenizer(weights, setting)

    def load(self, device: torch.device) -> Encode:
        """A function from texts to float32 [text, size]; texts longer than the model's context are cut off."""
        folder = self.find()[0]
        model = load_encoder(folder).to(device)

        def embed(tokens: Mapping[str, Tensor]) -> Tensor:
            return model(**tokens).pooler_output

        context = model.config.max_position_embeddings
        return make_encode(load_tokenizer(folder), context, embed, self.batch_size, device)
