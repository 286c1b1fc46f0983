"""What methods keep that score all items for all queries at once: a matrix, and facts about it."""

from collections.abc import Mapping
from pathlib import Path

from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

ITEMS = "items"


def save_items(path: Path, values: Float[Tensor, "value item"], facts: Mapping[str, float]) -> None:
    """Write them into a file."""
    metadata = {name: str(value) for name, value in facts.items()}
    save_file({ITEMS: values.cpu().contiguous()}, path, metadata=metadata)


def load_items(path: Path) -> tuple[Float[Tensor, "value item"], dict[str, float]]:
    """What ``save_items`` wrote."""
    with safe_open(path, framework="pt") as file:
        facts = {name: float(value) for name, value in sorted(file.metadata().items())}  # which are in no order
        return file.get_tensor(ITEMS), facts
