"""What methods keep of all items: read as it was written, and the facts in one order, as tables have them."""

from pathlib import Path

import torch

from tdattr.methods.kept_items import load_items, save_items


def test_facts_are_read_in_one_order(tmp_path: Path) -> None:
    """The metadata of a file comes in another order with every reading."""
    values, facts = torch.arange(6.0).view(2, 3), {f"fact_{number}": float(number) for number in reversed(range(9))}
    save_items(tmp_path / "items.safetensors", values, facts)
    for _ in range(20):
        read, noted = load_items(tmp_path / "items.safetensors")
        assert torch.equal(read, values) and noted == facts and list(noted) == sorted(facts)
