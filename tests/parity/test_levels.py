"""The timesteps that the references visit."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from tdattr.configs import build
from tdattr.diffusion.ddpm import DDPM
from tdattr.methods.abu import AbU
from tdattr.methods.shift_noise import fixed_levels
from tdattr.methods.trak import Trak
from tests.parity.golden import golden

CONF = Path(__file__).parents[2] / "conf"


def composed(*overrides: str) -> tuple[DDPM, AbU | Trak]:
    """Variant and method of ``conf`` with D-TRAK's diffusion."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["diffusion=ddpm", "dataset=cifar2", *overrides])
    return build(config.diffusion, "diffusion"), build(config.method, "method")


def test_ddim_visits_the_references_timesteps() -> None:
    entry = golden("levels.discrete")
    diffusion, _ = composed("method=dtrak")
    entry.check("DDIM", diffusion.generation_levels(diffusion.steps))


@pytest.mark.parametrize("levels", ["generation", "discrete"])
def test_dtrak_takes_gradients_at_the_references_timesteps(levels: str) -> None:
    """Both by name and, as the default, where a generation of so many steps goes."""
    entry = golden("levels.discrete")
    diffusion, method = composed("method=dtrak", f"method.gradients.levels={levels}")
    assert isinstance(method, Trak)
    noise = method.gradients.noise_set(diffusion, (1, 2, 2), seed=0)
    assert levels == "generation" or torch.equal(noise.levels, noise.levels.sort().values)
    entry.check("D-TRAK gradients", noise.levels.sort().values)


@pytest.mark.parametrize("levels", ["generation", "discrete"])
def test_abu_takes_losses_at_the_references_timesteps(levels: str) -> None:
    entry = golden("levels.discrete")
    share = 1.0 if levels == "generation" else None
    changed = [f"method.score.levels={levels}", f"method.score.schedule_share={share or 'null'}"]
    diffusion, method = composed("method=abu", *changed)
    assert isinstance(method, AbU)
    found = fixed_levels(diffusion, method.score, share)
    assert found is not None
    assert levels == "generation" or torch.equal(found, found.sort().values)
    entry.check("AbU losses", found.sort().values)
