"""Groups of somebody's own pictures are forgotten by the recipe that is derived for them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tdattr
from tdattr.methods.guda import GUDA, unlearn_all
from tdattr.networks import Given, Network
from tdattr.pipeline.attribute import make_context
from tdattr.pipeline.train import load_network, train
from tdattr.pipeline.workspace import Workspace
from tests.e2e.console import TINY

STEPS = 300  # of the training: a tenth of what is derived, which is enough here
SETTINGS = [
    *(setting for setting in TINY if not setting.startswith(("dataset", "train"))),
    "trainer.threads=1",
    "dataset=image_folder",
    "dataset.source.resolution=8",
    "dataset.source.channels=1",
    f"dataset.recipe.steps={STEPS}",
    "dataset.recipe.unlearn.steps=120",  # as is derived for the training's whole length
    "method=guda_u",
    "protocol=logo",
]


def draw_pictures(folder: Path) -> None:
    """Bars that stand and bars that lie."""
    for group in ("standing", "lying"):
        (folder / group).mkdir(parents=True)
        for number in range(20):
            rng = np.random.default_rng([number, len(group)])
            pixels = rng.integers(40, size=(8, 8), dtype=np.uint8)
            pixels[:, 1 + number % 5 : 3 + number % 5] += 200
            Image.fromarray(pixels if group == "standing" else pixels.T).save(folder / group / f"{number:02}.png")


def mean_loss(ws: Workspace, network: Network, ids: np.ndarray) -> float:
    """The loss of items under a network, a mean over levels and noise that are the same in every call."""
    rng = np.random.default_rng(0)
    items = np.repeat(ids, 20)
    x = ws.data.train.x(items)
    noise = torch.from_numpy(rng.standard_normal(x.shape).astype(np.float32))
    with torch.inference_mode():
        losses = ws.diffusion.loss(network.eval(), x, ws.diffusion.training_levels(rng, len(items)), noise, Given())
    return float(losses.mean())


@pytest.mark.slow
def test_what_is_forgotten_has_a_higher_loss(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "own")
    ws = tdattr.compose([*SETTINGS, f"dataset.source.root={tmp_path / 'own'}", f"paths.outputs={tmp_path}"])
    method = ws.method
    assert isinstance(method, GUDA) and method.unlearn.learning_rate == 3e-4 and ws.train.learning_rate == 2e-3
    f1 = load_network(ws, train(ws))
    removals = list(ws.groups.values())
    models = unlearn_all(make_context(ws, method, []), method.objective, method.unlearn, removals, None, False)
    for removed, model in zip(removals, models, strict=True):
        after = model.trained.load()
        growth = {
            name: mean_loss(ws, after, ids) / mean_loss(ws, f1, ids)
            for name, ids in (("forgotten", removed), ("kept", np.setdiff1d(ws.ids, removed)))
        }
        assert growth["forgotten"] > 1.2 and growth["kept"] < 1.1, growth
