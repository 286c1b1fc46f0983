"""AbU's step and score, against the numbers of its authors' code."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.utils.data import Dataset

from tdattr.configs import build
from tdattr.diffusion.batch import Batch
from tdattr.diffusion.edm import EDM
from tdattr.methods import Context, Scored, abu, ascend, loss_shift
from tdattr.methods.abu import AbU
from tdattr.methods.loss_shift import shift_scorer
from tdattr.methods.shift_config import ShiftConfig
from tdattr.networks import NOTHING, Given, Network
from tdattr.scoring.cells import Items, TrainingItems
from tdattr.scoring.fisher import load_fisher
from tdattr.store import Store
from tests.conftest import CONF
from tests.contexts import keep
from tests.parity.given import GivenTable
from tests.parity.golden import golden


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """The references' numbers here are of double precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Linear(Network):
    """Its output is the product of x with the parameters, so that x is the gradient."""

    parts: ClassVar = {"mlp": ("*",)}
    conditional = False
    knows_augmentation = False

    def __init__(self, parameters: Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(parameters.clone(), requires_grad=False)

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        return x @ self.theta


@dataclass(frozen=True)
class GivenGradients(EDM):
    """The loss is the output of the network: the gradient of an item's loss is the item."""

    def loss(self, network: Any, x: Tensor, level: Tensor, noise: Tensor, given: Given = NOTHING) -> Tensor:
        return network(x, level, given)


@dataclass(frozen=True)
class GivenItems(Items):
    """Training items that are rows."""

    rows: Tensor

    @property
    def ids(self) -> np.ndarray:
        return np.arange(len(self.rows))

    def take(self, indices: np.ndarray) -> tuple[Tensor, Given]:
        return self.rows[torch.from_numpy(indices)], NOTHING


class GivenBatches(Dataset[Batch]):
    """Batches of one row each."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __getitem__(self, index: int) -> Batch:
        return Batch(self.rows[index : index + 1], torch.ones(1), torch.zeros(1, 7))


def test_the_fisher_information_and_the_step(
    make_context: Callable[..., Context], edm: EDM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = golden("abu.step")
    drawn = entry.tensors(torch.float64)
    of_query, of_items = drawn["gradients of the query's 5 batches"], drawn["gradients of 6 training items"]
    monkeypatch.setattr(abu, "TrainingItems", lambda *_: GivenItems(of_items))
    monkeypatch.setattr(ascend, "QueryBatches", lambda *_: GivenBatches(of_query))
    seen: list[Network] = []

    def scorer(context: Context, config: ShiftConfig) -> Callable[[Network, int], Scored]:
        return lambda network, query: seen.append(network) or Scored(torch.zeros(6))  # type: ignore[func-returns-value]

    monkeypatch.setattr(abu, "shift_scorer", scorer)
    config = OmegaConf.load(CONF / "method" / "abu.yaml")
    changes = {"rate": entry.constants["rate"], "draws": 5, "batch_size": 1}
    config = OmegaConf.merge(config, changes, {"fisher": {"epochs": 1}, "score": {"mirror": False}})
    method: AbU = build(config, "method")
    store = Store(tmp_path, "cpu")
    context = make_context(
        ids=np.arange(entry.constants["N"]),
        diffusion=GivenGradients(**vars(edm)),
        f1=lambda: Linear(drawn["parameters"]),
        plan=keep(store),
    )
    method.start(context)(0)
    entry.check("fisher", load_fisher(tmp_path / store.built[1], 0.0)["theta"])
    entry.check("parameters after", seen[0].theta)


def test_the_score_is_the_larger_one_of_both_orientations(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = golden("abu.score")
    drawn = entry.tensors(torch.float64)

    def table(when: str, items: TrainingItems, pairs: Any) -> GivenTable:
        return GivenTable(items, pairs, drawn[f"losses {when}, {'mirrored' if items.mirrored else 'unmirrored'}"])

    monkeypatch.setattr(loss_shift, "f1_table", lambda context, items, pairs, noise: table("before", items, pairs))
    monkeypatch.setattr(loss_shift, "ComputedTable", lambda items, pairs, *_: table("after", items, pairs))
    config = OmegaConf.load(CONF / "method" / "abu.yaml")
    config = OmegaConf.merge(config, {"score": {"pairs": 4, "mirror": True}})
    score = shift_scorer(make_context(ids=np.arange(6)), build(config, "method").score)(nn.Identity(), 0).scores
    entry.check("score", score)
    entry.check("order (most influential first)", score.argsort(descending=True))
