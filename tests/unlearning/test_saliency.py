"""SalUn's mask: which weights it chooses, and that nothing else moves, whatever the objective and the optimiser do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from tdattr.configs import build
from tdattr.data.prepared import Prepared
from tdattr.diffusion.edm import EDM
from tdattr.methods.guda import GUDA
from tdattr.training.config import TrainConfig, TrainerConfig
from tdattr.unlearning.group import GroupBatches, unlearn_group
from tdattr.unlearning.objectives import UnlearnContext
from tdattr.unlearning.saliency import Saliency, restrict
from tests.conftest import CONF

FORGOTTEN = np.array([1, 4, 5, 9, 13, 20, 21, 30, 31])
RETAINED = np.setdiff1d(np.arange(48), FORGOTTEN)
GROUPS = {"gone": FORGOTTEN, "kept": RETAINED}


def flat(network: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def method(*settings: str) -> GUDA:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        small = ["method.unlearn.steps=4", "method.unlearn.batch_size=4", "method.unlearn.warmup_steps=0"]
        config = compose("config", ["dataset=digits", "method=guda_u", *small, *settings])
    return build(config.method, "method")


@pytest.fixture
def unlearned(
    edm: EDM,
    tiny_data: Prepared,
    tiny_dit: Callable[..., nn.Module],
    tiny_train: Callable[..., TrainConfig],
    tiny_trainer: Callable[..., TrainerConfig],
    tmp_path: Path,
) -> Callable[..., tuple[Tensor, Tensor]]:
    """``unlearned(settings)``: the weights before and after."""

    def run(*settings: str) -> tuple[Tensor, Tensor]:
        made, network = method(*settings), tiny_dit(4, spread=0.1)
        context = UnlearnContext(
            *[
                edm,
                tiny_data.train,
                RETAINED,
                FORGOTTEN,
                lambda: tiny_dit(4, spread=0.1),
                torch.device("cpu"),
                5,
                "loss",
            ],
            GROUPS,
            lambda: tiny_dit(2, spread=0.2),
        )
        before = flat(network)
        trainer = tiny_trainer()
        unlearn_group(
            network, made.objective, context, made.unlearn, tiny_train(), trainer, lambda point: None, tmp_path
        )
        return before, flat(network)

    return run


@pytest.mark.parametrize("batches", [None, 5])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_the_largest_gradients_are_chosen(
    share: float,
    batches: int | None,
    edm: EDM,
    tiny_data: Prepared,
    tiny_dit: Callable[..., nn.Module],
    tiny_train: Callable[..., TrainConfig],
) -> None:
    """By a plain sort of the gradient's mean over batches of forgotten items, two to a pass."""
    network = tiny_dit(4, spread=0.1, augmentation_label=False)
    made = GroupBatches(tiny_data.train, RETAINED, FORGOTTEN, edm, 4, tiny_train(), 5, False)
    drawn = list(made.saliency_batches(batches))
    assert len(drawn) == (batches or 2) and len({int(i) for batch in drawn[:2] for i in batch.ids}) == 8
    assert np.isin(torch.cat([batch.ids for batch in drawn]), FORGOTTEN).all()
    masks = Saliency("saliency", share, batches).choose(network, edm, drawn, torch.device("cpu"))
    rows = []
    for batch in drawn:
        loss = sum(edm.loss(network, *batch[i : i + 1].inputs)[0] for i in range(4)) / 4
        rows.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(network.parameters()))]))
    gradient = torch.stack(rows).mean(0).abs()
    chosen = torch.cat([masks[name].flatten() for name, _ in network.named_parameters()])
    assert int(chosen.sum()) == round(share * len(gradient))
    assert float(gradient[chosen].min()) >= float(gradient[~chosen].max()) - 1e-6
    assert all(weight.grad is None for weight in network.parameters())


@pytest.mark.parametrize(
    "objective", ["retrack", "esd", "erasediff", "siss", "gradient_ascent", "finetune", "retrack_contrast"]
)
def test_nothing_else_moves_under_any_objective(
    objective: str, unlearned: Callable[..., tuple[Tensor, Tensor]]
) -> None:
    """A large decay moves every weight that is not masked."""
    chosen, decay = [f"objective@method.objective={objective}"], ["method.unlearn.weight_decay=0.5"]
    before, after = unlearned(*chosen, *decay, "mask@method.unlearn.mask=saliency")
    moved = before != after
    assert float(moved.float().mean()) == pytest.approx(0.2, abs=1e-3)
    before, after = unlearned(*chosen, *decay)
    assert float((before != after).float().mean()) > 0.9


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_mask_of_all_weights_changes_nothing(optimizer: str, unlearned: Callable[..., tuple[Tensor, Tensor]]) -> None:
    settings = [f"method.unlearn.optimizer={optimizer}", "method.unlearn.clip=0.1"]
    _, plain = unlearned(*settings)
    _, masked = unlearned(*settings, "mask@method.unlearn.mask=saliency", "method.unlearn.mask.share=1.0")
    assert torch.equal(plain, masked)


def test_every_gradient_is_masked_and_the_weights_are_free_again(tiny_dit: Callable[..., nn.Module]) -> None:
    """Also one that is taken without a backward pass of the whole, as that of SISS."""
    network, rng = tiny_dit(4, spread=0.1), torch.Generator().manual_seed(0)
    masks = {name: torch.rand(w.shape, generator=rng) < 0.3 for name, w in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), 0.1, weight_decay=0.5)
    handles = restrict(network, optimizer, masks)

    def loss() -> Tensor:
        return sum((weight**2).sum() for weight in network.parameters())  # type: ignore[return-value]

    mask = torch.cat([masks[name].flatten() for name, _ in network.named_parameters()])
    gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss(), list(network.parameters()))])
    assert torch.equal(gradient, 2 * flat(network) * mask)
    before = flat(network)
    loss().backward()
    optimizer.step()
    assert torch.equal(flat(network)[~mask], before[~mask])
    torch.testing.assert_close(flat(network)[mask], 0.75 * before[mask])
    for handle in handles:
        handle.remove()
    optimizer.zero_grad()
    before = flat(network)
    loss().backward()
    optimizer.step()
    torch.testing.assert_close(flat(network), 0.75 * before)


def test_a_mask_is_off_by_default_and_in_the_address_where_it_is_on() -> None:
    plain, masked = method(), method("mask@method.unlearn.mask=saliency")
    assert plain.unlearn.mask is None
    assert masked.unlearn.mask == Saliency("saliency", 0.2, None) and masked.describe() != plain.describe()
    assert masked.describe() != method("mask@method.unlearn.mask=saliency", "method.unlearn.mask.share=0.5").describe()
    assert replace(plain, unlearn=replace(plain.unlearn, mask=masked.unlearn.mask)).describe() == masked.describe()
