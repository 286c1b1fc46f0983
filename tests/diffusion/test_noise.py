"""Every variant as a predictor of noise: what unlearning steers and what evidence lower bounds are made of."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from tdattr.configs import build
from tdattr.diffusion import Diffusion
from tdattr.seeding import generator, normal

CONF = Path(__file__).parents[2] / "conf"
VARIANTS = sorted(path.stem for path in (CONF / "diffusion").glob("*.yaml"))


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> Diffusion:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build(compose("config", [f"diffusion={request.param}"]).diffusion, "diffusion")


@pytest.fixture
def batch(variant: Diffusion) -> dict[str, Tensor]:
    rng = generator(0, "test.noise")
    level = variant.training_levels(rng, 6)
    return {"x": normal(rng, 6, 1, 8, 8).tanh(), "level": level, "noise": normal(rng, 6, 1, 8, 8)}


class Conditional(nn.Module):
    """Something that depends on all that it is given, and keeps what it saw."""

    def forward(
        self, x: Tensor, code: Tensor, condition: Any = None, drop: Any = None, augmentation: Any = None
    ) -> Any:
        self.seen = x
        out = x.sin() + code[:, None, None, None]
        return out if condition is None else out + condition.sum(1)[:, None, None, None] * ~drop[:, None, None, None]


def test_the_loss_is_the_weighted_distance_of_predicted_and_true_noise(
    variant: Diffusion, batch: dict[str, Tensor]
) -> None:
    given = {"condition": torch.rand(6, 3), "drop": torch.arange(6) % 2 == 0}
    network = Conditional()
    predicted = variant.predicted_noise(network, **batch, **given)
    distance = (predicted - batch["noise"]).square().flatten(1).mean(1)
    expected = variant.loss(network, **batch, **given)
    torch.testing.assert_close(variant.noise_weight(batch["level"]) * distance, expected, rtol=1e-3, atol=1e-5)


def test_a_network_that_knows_the_image_predicts_the_noise(variant: Diffusion, batch: dict[str, Tensor]) -> None:
    class Perfect(nn.Module):
        def forward(self, x: Tensor, code: Tensor, *_: Any) -> Tensor:
            signal = (variant.log_snr(batch["level"]) / 2).exp().float()[:, None, None, None]
            if type(variant).__name__ == "EDM":  # puts out (x - c_skip (x + sigma n)) / c_out
                sigma, data = 1 / signal, 0.5
                noised = batch["x"] + sigma * batch["noise"]
                return (
                    (batch["x"] - noised * data**2 / (sigma**2 + data**2))
                    * (sigma**2 + data**2).sqrt()
                    / (sigma * data)
                )
            return batch["noise"] - batch["x"] if type(variant).__name__ == "Flow" else batch["noise"]

    found = variant.predicted_noise(Perfect(), **batch)
    torch.testing.assert_close(found, batch["noise"], atol=2e-3, rtol=2e-3)


def test_signal_to_noise_is_that_of_what_the_network_sees(variant: Diffusion, batch: dict[str, Tensor]) -> None:
    """Both parts of the noised item are read off by giving one of them alone."""
    network = Conditional()
    parts = []
    for x, noise in ((batch["x"], 0 * batch["noise"]), (0 * batch["x"], batch["noise"])):
        variant.predicted_noise(network, x, batch["level"], noise)
        parts.append(network.seen.double())
    signal = (parts[0] / batch["x"]).mean((1, 2, 3))
    noise = (parts[1] / batch["noise"]).mean((1, 2, 3))
    found = variant.log_snr(batch["level"])
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, 2 * (signal / noise).log(), atol=1e-3)


def test_the_ladder_goes_from_little_noise_to_much(variant: Diffusion) -> None:
    snr = variant.log_snr(variant.ladder(50))
    assert len(snr) in (50, 1000)
    assert (snr.diff() < 0).all()
    assert snr.isfinite().all()
    assert snr[0] > 3 and snr[-1] < -3
