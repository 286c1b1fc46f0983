"""What is wrong with the settings of a base model, or with where it is to go, is said in a sentence."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from tdattr.base_model import BaseConfig, Training
from tdattr.base_model.loop import fit
from tdattr.configs import build
from tdattr.errors import UserError
from tests.base_model.parts import CONFIG
from tests.conftest import CONF


def test_the_shares_of_the_learning_rate() -> None:
    training = Training(steps=110, batch_size=1, learning_rate=1.0, warmup_steps=10)
    assert [training.factor(step) for step in (0, 4, 9, 10, 60, 110)] == pytest.approx([0.1, 0.5, 1, 1, 0.5, 0])


def test_a_training_that_diverges_is_a_sentence(tmp_path: Path) -> None:
    module = torch.nn.Linear(1, 1)
    with pytest.raises(UserError, match=r"Training a part: the loss is nan at step 0; lower base\.part\.learning_rate"):
        fit(
            module,
            lambda step: module.weight.sum() * torch.nan,
            CONFIG.vae.train,
            tmp_path,
            "Training a part",
            "base.part",
        )


def test_the_published_settings_fit() -> None:
    base: BaseConfig = build(OmegaConf.load(CONF / "base.yaml").base, "base", BaseConfig)
    base.check(32)


@pytest.mark.parametrize(
    ("config", "height", "sentence"),
    [
        (CONFIG, 10, r"dataset\.source\.resolution=10 must be a multiple of 4"),
        (replace(CONFIG, text=replace(CONFIG.text, patch=3)), 8, r"base\.text\.patch=3 must divide"),
        (replace(CONFIG, text=replace(CONFIG.text, heads=3)), 8, r"base\.text\.width=8 must be a multiple of the 3"),
        (replace(CONFIG, vae=replace(CONFIG.vae, channels=[8, 12])), 8, r"base\.vae\.channels=\[8, 12\] must be mult"),
        (replace(CONFIG, unet=replace(CONFIG.unet, heads=3)), 8, r"base\.unet\.channels=\[8, 8\] must be multiples of"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(config: BaseConfig, height: int, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        config.check(height)
