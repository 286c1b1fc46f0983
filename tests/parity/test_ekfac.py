"""EK-FAC influences against kronfluence's, of a network with tokens, with biases and without."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tdattr.diffusion.edm import EDM
from tdattr.methods.ekfac import along
from tdattr.networks import NOTHING, Given, Network
from tdattr.scoring import ekfac
from tdattr.scoring.cells import Items
from tdattr.scoring.gradients import GradientConfig, Gradients
from tdattr.scoring.pairs import NoiseSet
from tdattr.scoring.projection import ProjectionConfig
from tests.parity.golden import golden


class Tokens(Network):
    """Three layers for each half of an image."""

    parts: ClassVar = {"all": ("*",)}
    conditional, has_null, knows_augmentation = False, True, False

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(8, 12), nn.Linear(12, 12, bias=False), nn.Linear(12, 8)

    def forward(self, x: Tensor, c_noise: Tensor, given: Given = NOTHING) -> Tensor:
        tokens = x.reshape(len(x), 2, 8)
        return self.last(torch.tanh(self.second(torch.tanh(self.first(tokens))))).reshape(x.shape)


@dataclass(frozen=True, eq=False)
class GivenItems(Items):
    """Images without conditions."""

    x: Tensor

    @property
    def ids(self) -> np.ndarray:
        return np.arange(len(self.x))

    def take(self, indices: np.ndarray) -> tuple[Tensor, Given]:
        return self.x[torch.from_numpy(indices)], NOTHING


def test_influences_are_the_library_s(edm: EDM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs are sampled as they were there."""
    entry = golden("kronfluence.ekfac")
    given, constants = entry.tensors(), entry.constants
    assert edm.sigma_data == constants["sigma_data"]
    network = Tokens().requires_grad_(False).eval()
    network.load_state_dict({name: constants["scale"] * given[name] for name in network.state_dict()})
    monkeypatch.setattr(ekfac, "draw_outputs", lambda seed, item, *_: given["sampled"][item])
    config = GradientConfig("loss", 2, "training", False, "all", ProjectionConfig("none", 8, 1))
    noise = NoiseSet(torch.tensor(constants["sigma"]), given["noise"])
    gradients = Gradients(network, edm, config, network.parameter_names("all"), noise, 6)
    items, queries = GivenItems(given["items"]), GivenItems(given["queries"])
    directions = gradients.of_items(queries, slice(0, len(queries)))
    ekfac.fit(gradients, items, 0).solve(gradients.by_name(directions), constants["damping"])
    entry.check("influences", along(gradients, items, directions).T / len(items))
