"""Unlearning as the authors of GUDA and SISS run it: their steps, targets and rates."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.utils.data import Dataset

from tdattr.configs import build
from tdattr.data.prepared import Prepared
from tdattr.diffusion.batch import Batch
from tdattr.diffusion.ddpm import DDPM
from tdattr.networks import NOTHING, Given, per_item
from tdattr.training.config import TrainConfig, TrainerConfig
from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.group import GroupBatches
from tdattr.unlearning.module import Unlearning, unlearn
from tdattr.unlearning.objectives import UnlearnContext
from tests.conftest import CONF
from tests.contexts import unused
from tests.parity.golden import golden

DIFFUSION = {"name": "ddpm", "timesteps": 4000, "schedule": "cosine", "beta_start": 1e-4, "beta_end": 0.02}
DIFFUSION |= {"sampler": "ancestral", "steps": 50, "spacing": "leading", "ddim_noise": "predicted"}
DIFFUSION |= {"prediction": "epsilon", "zero_terminal_snr": False, "c_noise": "timestep"}
DIFFUSION |= {"offset": 0, "end": "clean", "clip": 1.0, "variance": "small"}


def objective(name: str, **changes: Any) -> Any:
    node = OmegaConf.load(CONF / "objective" / f"{name}.yaml")
    assert isinstance(node, DictConfig)
    node.pop("defaults", None)
    return build(OmegaConf.merge(node, changes), "objective")


def context(diffusion: DDPM, data: Prepared) -> UnlearnContext:
    """Nothing but the variant is used of it."""
    ids = np.arange(24)
    return UnlearnContext(diffusion, data.train, ids, ids + 24, unused, torch.device("cpu"), 5, "loss")


@dataclass(frozen=True)
class Summed(DDPM):
    """DDPM whose loss is a sum over the 12 values of an item, as SISS's code has it."""

    def loss_weight(self, level: Tensor) -> Tensor:
        return torch.full_like(level, 12)


class Channels(nn.Module):
    """A factor and an offset for each channel."""

    def __init__(self, w: Tensor, v: Tensor) -> None:
        super().__init__()
        self.w, self.v = nn.Parameter(w.clone()), nn.Parameter(v.clone())

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        return self.w[:, None, None] * x + self.v[:, None, None]


@dataclass(frozen=True)
class One(Dataset[UnlearnBatch]):
    """The same batch at every step."""

    batch: UnlearnBatch

    def __getitem__(self, step: int) -> UnlearnBatch:
        return self.batch


def noised_to(diffusion: DDPM, noised: Tensor, noise: Tensor, t: int) -> Batch:
    """The items that are ``noised`` at t."""
    level = torch.full((len(noised),), float(t))
    kept = per_item(diffusion.alpha_bar.float()[level.long()], noised)
    return Batch((noised - (1 - kept).sqrt() * noise) / kept.sqrt(), level, noise)


def test_siss_takes_a_forget_gradient_of_fixed_length_off_the_retained_one(
    tiny_data: Prepared, tiny_trainer: Callable[..., TrainerConfig]
) -> None:
    """The change of the weights by one step of plain descent under Lightning, with a rate of 1."""
    entry = golden("siss.step")
    given, diffusion = entry.tensors(), Summed(**DIFFUSION)
    parts = [noised_to(diffusion, given[f"{role}, noised"], given["noise"], 1500) for role in ("retained", "forgotten")]
    batch, shares = UnlearnBatch(*parts), list[float]()

    class Noted:
        goal = float("inf")

        def __init__(self, **changes: Any) -> None:
            self.step = objective("siss", **changes).begin(context(diffusion, tiny_data))

        def __call__(self, network: nn.Module, batch: UnlearnBatch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
            losses = self.step(network, batch)
            shares.append(losses.log()["forget_gradient"])
            return losses.total, losses.total.detach(), losses.parts

    def step(clip: float | None = None, **changes: Any) -> Tensor:
        network = Channels(given["w"], given["v"])
        module = Unlearning(network, Noted(**changes), lambda p: torch.optim.SGD(p, lr=1.0), ["w", "v"], False)
        unlearn(module, One(batch), 1, tiny_trainer(), clip=clip)
        return torch.cat([given["w"] - network.w, given["v"] - network.v])

    for part, name in zip(parts, ("retained", "forgotten"), strict=True):
        network = Channels(given["w"], given["v"])
        diffusion.loss(network, *part.inputs).mean().backward()
        entry.check(f"{name} gradient", torch.cat([network.w.grad, network.v.grad]))
    entry.check("step, c = 0.5", step(length="absolute", strength=entry.constants["c"]))
    entry.check("step, c = 10 % of the retained gradient's length", step())
    entry.check("the latter after the clip to length 1", step(clip=1.0))
    entry.check("signed share of the forgotten gradient's length in the latter, per retained length", shares[-1])


@pytest.mark.parametrize(
    ("output", "settings"),
    [
        ("published code, kl cap 1", {"weighting": "published_code", "kl_cap": 1.0}),
        ("softmax by definition, kl cap 1", {"kl_cap": 1.0}),
        ("published code, no cap", {"weighting": "published_code"}),
        ("softmax by definition, no cap", {}),
    ],
)
def test_retrack_s_target(output: str, settings: dict[str, Any]) -> None:
    entry = golden("guda.retrack_target")
    constants, given = entry.constants, entry.tensors()
    diffusion = DDPM(**DIFFUSION | {name: constants[name] for name in ("timesteps", "schedule")})
    neighbours = given["x"][:, None] + constants["factor of the offsets"] * given["offsets"]
    noise = constants["factor of eps_drawn"] * given["eps_drawn"]
    level = torch.tensor(constants["t"], dtype=torch.float32)
    entry.check(output, objective("retrack", **settings).target(diffusion, given["x"], neighbours, level, noise))


def test_esd_s_target() -> None:
    entry = golden("guda.esd_target")
    given, esd = entry.tensors(), objective("esd", teacher=None)
    assert esd.guidance == entry.constants["w"]  # the default
    entry.check("target", esd.target(given["eps_cond"], given["eps_uncond"]))


def test_erasediff_s_loss(tiny_data: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their draw of the target in place of ours, and networks that predict what theirs did."""
    entry = golden("guda.erasediff_loss")
    given, diffusion, roles = entry.tensors(), DDPM(**DIFFUSION), ("retain", "forget")
    batch = UnlearnBatch(*(Batch(given[f"x_{role}"], torch.full((2,), 700.0), given[f"eps_{role}"]) for role in roles))
    predictions = iter([given["pred_retain"], given["pred_forget"]])

    class Known(nn.Module):
        def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
            return next(predictions)

    step = objective("erasediff", weight=entry.constants["weight"]).begin(context(diffusion, tiny_data))
    monkeypatch.setattr(torch, "randn", lambda *shape, **_: given["target"])
    losses = step(Known(), batch)
    entry.check("total", losses.total)
    entry.check("retain", losses.retain)
    entry.check("forget", losses.forget)


def test_the_learning_rate_s_factor() -> None:
    """Our warm-up is one step ahead of theirs, whose first step changes nothing; from its end on they are the same."""
    entry = golden("guda.rate_factor")
    steps, theirs = entry.constants["steps"], entry.outputs["factor"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        node = compose("config", ["experiment=guda_cifar10", "method=guda_u"]).method
    factor = build(node, "method").unlearn.factor(45_000, 5_000)
    ours = [factor(step) for step in steps]
    entry.check("factor", ours)
    assert ours[:3] == pytest.approx([one + 1 / 5000 for one in theirs[:3]])
    assert ours[3:] == pytest.approx(theirs[3:], rel=1e-6)


def test_unlearning_batches_visit_all_items_where_the_published_pairs_visit_half_of_the_retained(
    tiny_data: Prepared, tiny_train: Callable[..., TrainConfig]
) -> None:
    """Two items of each kind in a batch of four, as theirs has on average; of the ids alone, there are no images."""
    entry = golden("sd15.dataset")
    forgotten, retained = np.arange(400), np.arange(400, 24_000)
    length = max(len(forgotten), len(retained))
    pairs = [("forgotten", i // 2 % len(forgotten)) if i % 2 == 0 else ("retained", i // 2) for i in range(length)]
    entry.check("length", length)
    for kind in ("forgotten", "retained"):
        entry.check(f"distinct {kind}", len({item for role, item in pairs if role == kind}))
    entry.check("expected share of batches of 4 without one kind", 2 * 0.5**4)

    diffusion = DDPM(**DIFFUSION)
    made = GroupBatches(tiny_data.train, retained, forgotten, diffusion, 2, tiny_train(), 5, False)
    steps = range(len(retained) // 2)  # an epoch of the retained items
    visits = {role: Counter[int]() for role in ("retain", "forget")}
    for step in steps:
        for role, ids in (("retain", retained), ("forget", forgotten)):
            batch = made.choose_items(ids, role, step)
            assert len(batch) == 2  # of each kind in every batch
            visits[role].update(batch.tolist())
    assert visits["retain"].keys() == set(retained) and set(visits["retain"].values()) == {1}
    assert visits["forget"].keys() == set(forgotten) and set(visits["forget"].values()) == {59}
    assert len(visits["retain"]) == 2 * entry.outputs["distinct retained"]


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize(("retained", "forgotten", "size"), [(33, 12, 4), (36, 12, 8), (40, 3, 5)])
def test_an_epoch_visits_every_item_equally_often_within_one(
    retained: int, forgotten: int, size: int, coupled: bool, tiny_data: Prepared, tiny_train: Callable[..., TrainConfig]
) -> None:
    """What fills no batch is left out of an epoch, and drawn anew in the next; coupled batches redraw removed items,
    and none of the retained ones is visited less for it."""
    gone, kept = np.arange(forgotten), np.arange(forgotten, forgotten + retained)
    made = GroupBatches(tiny_data.train, kept, gone, DDPM(**DIFFUSION), size, tiny_train(), 5, coupled)
    for ids, role in ((made.union if coupled else kept, "retain"), (gone, "forget")):
        count = min(size, len(ids))
        steps = len(ids) // count
        for epoch in range(4):
            visits = Counter[int]()
            for step in range(epoch * steps, (epoch + 1) * steps):
                chosen = made[step].retain.ids.tolist() if role == "retain" else made[step].forget.ids.tolist()
                visits.update(chosen)
            assert set(visits) <= set(kept if role == "retain" else gone)
            left = len(ids) - steps * count
            if coupled and role == "retain":
                assert len(set(kept) - set(visits)) <= left
            else:
                assert set(visits.values()) == {1} and len(visits) == len(ids) - left
