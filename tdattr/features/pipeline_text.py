"""The text encoder of a Stable Diffusion, as vectors by which words are compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from tdattr.data.preparation import Encode
from tdattr.errors import UserError, first_line
from tdattr.features.clip import load_tokenizer, make_encode
from tdattr.features.text import TextEncoder
from tdattr.files import digest_once
from tdattr.pretrained import find_folder
from tdattr.ranges import Count

FILES = ["text_encoder/config.json", "text_encoder/model.safetensors", "tokenizer/vocab.json", "tokenizer/merges.txt"]


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

    def folder(self) -> Path:
        """The folder of the pipeline. Raises UserError where a file is missing."""
        if self.weights is None:
            raise UserError(f"The run's model is no pipeline: set `weights` of text {self.name} to a folder or hub id.")
        return find_folder(self.weights, FILES, f"`weights` of text {self.name}", True)

    def identity(self) -> Mapping[str, str]:
        """The digest of every file."""
        folder = self.folder()
        return {name: digest_once(folder / name) for name in FILES}

    def load(self, device: torch.device) -> Encode:
        """A function from texts to float32 [text, size]; texts longer than the model's context are cut off."""
        folder = self.folder()
        model = load_text_model(folder / "text_encoder").to(device)

        def embed(tokens: Mapping[str, Tensor]) -> Tensor:
            return model(**tokens).pooler_output

        context = model.config.max_position_embeddings
        return make_encode(load_tokenizer(folder / "tokenizer"), context, embed, self.batch_size, device)


def load_text_model(path: Path) -> Any:
    """The frozen text model in a folder, in float32. Raises UserError where its file does not hold all of it."""
    from transformers import CLIPTextModel

    try:
        loaded: Any = CLIPTextModel.from_pretrained(
            str(path), local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # readers of damaged files raise all sorts of things
        raise UserError(f"{path} holds no CLIP text model ({first_line(error)}): fetch it again.") from error
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise UserError(f"{path} lacks {len(missing)} tensors of the model, first {missing[0]}: fetch it again.")
    return model.eval().requires_grad_(False)
