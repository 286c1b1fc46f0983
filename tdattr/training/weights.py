"""Weights from outside: checked before anything is computed, and read without executing anything."""

from pathlib import Path

from safetensors import safe_open
from torch import nn

from tdattr.errors import UserError


def check_weights(path: Path, network: nn.Module) -> None:
    """Raise UserError where a safetensors file does not hold this network's weights, before anything is computed."""
    if not path.is_file():
        raise UserError(f"checkpoint={path} does not exist: give the path of a .safetensors file.")
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise UserError(f"checkpoint={path} is not a readable safetensors file ({error}).") from error
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    if found != expected:
        wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise UserError(
            f"checkpoint={path} was made by another architecture: {len(wrong)} of its tensors do not fit this model, "
            f"the first {wrong[0]} (file {found.get(wrong[0])}, model {expected.get(wrong[0])}); "
            "choose the model that it was trained with."
        )
