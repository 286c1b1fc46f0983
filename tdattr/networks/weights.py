"""Files of weights: what every network needs of them, before anything is computed with them."""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from tdattr.errors import UserError


def check_tensors(path: Path, subject: str) -> None:
    """Raise UserError, naming the tensor, where one in a safetensors file holds no floating-point numbers, or a number
    that is not finite. ``subject``: the file as the message names it. One tensor is in memory at a time."""
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            check_finite(name, file.get_tensor(name), subject)


def check_finite(name: str, tensor: Tensor, subject: str) -> None:
    """The same for one tensor of that name."""
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise UserError(f"{subject} holds {name} as {kind}, not as floating-point numbers: give other weights.")
    wrong = int((~tensor.float().isfinite()).sum())
    if wrong:
        raise UserError(
            f"{subject} holds {name} with {wrong} of {tensor.numel()} numbers that are not finite: give other weights."
        )


def load_saved(kind: Any, path: Path, what: str) -> Any:
    """A model that diffusers has saved, of its class ``kind``, in float32. ``path``: its safetensors file, beside which
    its description lies. Raises UserError where the file is damaged, not finite or of another one; ``what``: the model
    as the message names it."""
    wrong_weights = f"{path} does not hold the weights of the {what} in its config.json"
    try:
        check_tensors(path, str(path))
        model, loading = kind.from_pretrained(
            str(path.parent),
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            torch_dtype=torch.float32,
            output_loading_info=True,
        )
    except UserError:
        raise
    except Exception as error:  # diffusers, safetensors and torch raise many
        raise UserError(f"{wrong_weights}.") from error
    wrong = [*loading["missing_keys"], *loading["unexpected_keys"], *loading["mismatched_keys"]]
    if wrong:
        raise UserError(f"{wrong_weights}: see {wrong[0]}.")
    return model
