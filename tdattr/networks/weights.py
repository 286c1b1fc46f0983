"""Files of weights: what every network needs of them, before anything is computed with them."""

from pathlib import Path

from safetensors import safe_open

from tdattr.errors import UserError


def check_tensors(path: Path, subject: str) -> None:
    """Raise UserError, naming the tensor, where one in a safetensors file holds no floating-point numbers, or a number
    that is not finite. ``subject``: the file as the message names it. One tensor is in memory at a time."""
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            tensor = file.get_tensor(name)
            if not tensor.is_floating_point():
                kind = str(tensor.dtype).removeprefix("torch.")
                raise UserError(f"{subject} holds {name} as {kind}, not as floating-point numbers: give other weights.")
            wrong = int((~tensor.float().isfinite()).sum())
            if wrong:
                raise UserError(
                    f"{subject} holds {name} with {wrong} of {tensor.numel()} numbers that are not finite: give other "
                    "weights."
                )
