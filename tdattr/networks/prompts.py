"""The frozen text encoder of a Stable Diffusion: from the token ids of prompts to what its U-Net attends to."""

from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdattr.errors import UserError, first_line
from tdattr.networks.clip_tokenizer import tokenize
from tdattr.networks.diffusers_json import read_json
from tdattr.networks.stable_diffusion_folder import ENCODER, load_tokenizer

# bytes of embeddings that are kept in the CPU's memory: of 27 000 prompts of Stable Diffusion 1.5, more than the 24 000
# of UnlearnCanvas; beyond them those that were not asked for the longest are computed anew
MOST_BYTES = 6 << 30


class Prompts:
    """Embeds each distinct prompt once, by itself, so that an embedding does not depend on what else is in a batch.

    It is no module: its weights are neither trained nor stored, and all networks of a process share the one of a folder
    (``open_prompts``), also copies and those that come from another process. Embeddings are float32 whatever the
    precision of the run.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        config = read_json(root / ENCODER[0])
        self.width, self.tokens = int(config["hidden_size"]), int(config["max_position_embeddings"])
        self.model: Any = None
        self.known: OrderedDict[bytes, Tensor] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return open_prompts, (self.root,)

    def null_ids(self) -> Int[Tensor, " tokens"]:
        """The token ids of the empty prompt."""
        return torch.from_numpy(tokenize(load_tokenizer(self.root), [""])[0])

    def load(self) -> Any:
        """The text encoder, read when it is first needed. Raises UserError where its weights are damaged."""
        if self.model is None:
            self.model = load_encoder(self.root)
        return self.model

    def embed(self, ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens width"]:
        """The last hidden states of every prompt, on the device of ``ids``."""
        if ids.is_meta:
            return torch.empty(*ids.shape, self.width, device=ids.device)
        rows = ids.int().cpu().numpy()
        keys = [row.tobytes() for row in rows]
        places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        rows_of = dict(zip(keys, rows, strict=True))
        distinct = torch.stack([self.look_up(key, rows_of[key], ids.device) for key in places]).to(ids.device)
        return distinct[torch.tensor([places[key] for key in keys], device=ids.device)]

    def look_up(self, key: bytes, row: Int[np.ndarray, " tokens"], device: torch.device) -> Tensor:
        """The embedding of one prompt, on the CPU."""
        if key in self.known:
            self.known.move_to_end(key)
            return self.known[key]
        model = self.load().to(device)
        # outside of inference, as trainings take the same tensors
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
            value = model(torch.from_numpy(row).long()[None].to(device)).last_hidden_state[0].float().cpu()
        self.known[key] = value
        if len(self.known) * value.nbytes > MOST_BYTES:
            self.known.popitem(last=False)
        return value


@lru_cache(maxsize=4)
def open_prompts(root: Path) -> Prompts:
    """The one of this process for the pipeline in a folder."""
    return Prompts(root)


def load_encoder(root: Path) -> Any:
    """The text encoder of a pipeline in evaluation mode, frozen, in float32 on the CPU. Raises UserError where the file
    does not hold it whole."""
    from transformers import CLIPTextModel  # takes seconds to import
    from transformers.utils import logging

    path = root / ENCODER[1]
    logging.disable_progress_bar()
    try:
        loaded: Any = CLIPTextModel.from_pretrained(
            str(path.parent),
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # readers of damaged files raise all sorts of things
        raise UserError(f"{path} holds no CLIP text encoder ({first_line(error)}): fetch it again.") from error
    model, loading = loaded
    wrong = sorted([*loading["missing_keys"], *map(str, loading["mismatched_keys"])])
    if wrong:
        raise UserError(f"{path} does not hold the text encoder that its config.json describes: see {wrong[0]}.")
    return model.eval().requires_grad_(False)
