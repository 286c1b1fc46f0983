"""Where something stands that goes through a training, noted in its artifact's folder in case it is interrupted."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tdattr.files import move_into_place, name_aside, writing
from tdattr.interim import NOTE


def write_note(folder: Path, tensors: Mapping[str, Tensor], **numbers: int) -> None:
    """Note tensors and numbers in place of what was noted before, in one step. Raises UserError where the disk is
    full."""
    path = folder / NOTE
    with writing(folder):
        metadata = {name: str(number) for name, number in numbers.items()}
        save_file({name: value.cpu() for name, value in tensors.items()}, name_aside(path), metadata=metadata)
        move_into_place(name_aside(path), path)


def read_note(folder: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, int]] | None:
    """What was noted last, the tensors on the device; None where nothing was."""
    path = folder / NOTE
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118
        return tensors, {name: int(number) for name, number in file.metadata().items()}
