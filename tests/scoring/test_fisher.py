"""The diagonal Fisher information against one backward pass per item, and what is left of it after a kill."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tdattr.data.prepared import Prepared, Split
from tdattr.diffusion.edm import EDM
from tdattr.scoring import fisher
from tdattr.scoring.cells import TrainingItems
from tdattr.scoring.fisher import FILE, FisherConfig, diagonal_fisher, load_fisher, plan_rounds
from tdattr.seeding import generator, normal
from tdattr.store import Store, share_out
from tests.methods.plain import loss_of

IDS = np.array([40, 3, 17, 8, 21])  # neither sorted nor without gaps
EPOCHS, SEED = 2, 7
Compute = Callable[..., dict[str, Tensor]]


@pytest.fixture
def network(tiny_dit: Callable[..., nn.Module]) -> nn.Module:
    """Its dropout must not be used; nothing of ``null`` and of the augmentation's layer is ever used."""
    return tiny_dit(4, spread=0.1, dropout=0.2).requires_grad_(False)


@pytest.fixture
def compute(network: nn.Module, edm: EDM, tiny_data: Prepared, tmp_path: Path) -> Compute:
    def found(folder: str = "fisher", split: Split = tiny_data.train, **changes: Any) -> dict[str, Tensor]:
        values = {"ids": IDS, "network": network, "batch_size": 16, "part": "all", "seed": SEED} | changes
        store = Store(tmp_path / folder, "cpu")
        rounds = plan_rounds(
            lambda: values["network"],
            edm,
            [TrainingItems(split, values["ids"]), TrainingItems(split, values["ids"], mirrored=True)],
            values["network"].parameter_names(values["part"]),
            FisherConfig(EPOCHS, 0.0),
            values["seed"],
            values["batch_size"],
            lambda key, build: store.plan("fisher_round", 1, key, {}, build),
        )
        diagonal_fisher(share_out(rounds), len(IDS), tmp_path / folder)
        return load_file(tmp_path / folder / FILE)

    return found


def dense(network: nn.Module, split: Split) -> dict[str, Tensor]:
    """The mean over items, orientations and epochs of the squared gradient of an item's loss."""
    total = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in network.named_parameters()}
    for epoch in range(EPOCHS):
        for side in (0, 1):
            for item in IDS.tolist():
                pixels = split.pixels[item][:, ::-1] if side else split.pixels[item]
                x = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
                given = None if split.conditions is None else torch.from_numpy(np.array(split.conditions[item, :1]))
                rng = generator(SEED, "fisher", epoch, side, item)
                sigma = (normal(rng, 1) * 1.2 - 1.2).exp()
                network.zero_grad()
                network.requires_grad_(True)
                loss_of(network, x, sigma, normal(rng, 1, 1, 8, 8), given).backward()  # type: ignore[arg-type]
                for name, value in network.named_parameters():
                    if value.grad is not None:
                        total[name] += value.grad.double() ** 2
    network.zero_grad()
    network.requires_grad_(False)
    return {name: value / (EPOCHS * 2 * len(IDS)) for name, value in total.items()}


def close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == torch.float64
        torch.testing.assert_close(found[name], value, atol=1e-5 * float(value.max()), rtol=2e-3, msg=name)


def test_it_is_the_mean_of_squared_gradients(compute: Compute, network: nn.Module, tiny_data: Prepared) -> None:
    found = compute()
    close(found, dense(network, tiny_data.train))
    assert {name for name, value in found.items() if not value.any()} == {"null"}


def test_a_part_is_computed_alone(compute: Compute, network: nn.Module, tiny_data: Prepared) -> None:
    names = network.parameter_names("mlp")  # type: ignore[operator]
    expected = dense(network, tiny_data.train)
    close(compute(part="mlp"), {name: expected[name] for name in names})


def test_unconditional_data(compute: Compute, tiny_dit: Callable[..., nn.Module], tiny_data: Prepared) -> None:
    bare = replace(tiny_data.train, conditions=None)
    network = tiny_dit(0, spread=0.1).requires_grad_(False)
    close(compute(split=bare, network=network), dense(network, bare))


def test_neither_batches_nor_the_order_of_the_items_matter(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = compute()
    close(compute("3", batch_size=3), expected)
    close(compute("turned", ids=IDS[::-1].copy()), expected)
    monkeypatch.setattr(fisher, "BUFFER_VALUES", 1)  # a network with very many parameters
    close(compute("buffer"), expected)
    other = compute("seed", seed=SEED + 1)
    assert not torch.allclose(other["unpatch.weight"], expected["unpatch.weight"], rtol=1e-3)


def test_it_survives_a_kill(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = compute("whole")
    real, asked = fisher.sum_squares, []

    def stopped(*arguments: Any) -> dict[str, Tensor]:
        if arguments[4] == (SEED, 1, 0):
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(fisher, "sum_squares", stopped)
        with pytest.raises(KeyboardInterrupt):
            compute()
    monkeypatch.setattr(fisher, "sum_squares", lambda *arguments: asked.append(arguments[4]) or real(*arguments))
    found = compute()
    assert asked == [(SEED, 1, 0), (SEED, 1, 1)]  # two of the four rounds were done
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_damping_adds_a_share_of_the_mean_over_all_parameters(compute: Compute, tmp_path: Path) -> None:
    plain = compute()
    folder = tmp_path / "fisher"
    mean = torch.cat([value.flatten() for value in plain.values()]).mean()
    damped = load_fisher(folder, 0.25)
    for name, value in plain.items():
        assert torch.equal(load_fisher(folder, 0.0)[name], value)
        torch.testing.assert_close(damped[name], value + 0.25 * mean)
