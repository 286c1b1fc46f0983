"""A recipe for somebody's own images: what follows from how many there are, and from the size of the network."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from tdattr.configs import typed
from tdattr.errors import UserError
from tdattr.pipeline.dataset import derive_recipe, read_dataset
from tdattr.training.recipe import Rule
from tests.conftest import CONF
from tests.networks.tiny_pipeline import save_pipeline

Compose = Callable[..., DictConfig]
PARAMETERS = {"dit_tiny": 258_627, "unet_cifar10": 49_062_787, "sd15": 859_520_964}


@pytest.fixture
def rule() -> Rule:
    return typed(Rule, OmegaConf.to_container(OmegaConf.load(CONF / "recipe" / "own.yaml").rule), "rule")


@pytest.fixture
def own(tmp_path: Path) -> Compose:
    """The config of a folder with 24 images in two groups."""
    for group, shift in (("light", 128), ("dark", 0)):
        (tmp_path / "own" / group).mkdir(parents=True)
        for number in range(12):
            pixels = np.random.default_rng(number).integers(128, size=(9, 9, 3), dtype=np.uint8) + shift
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "own" / group / f"{number}.png")

    def make(*overrides: str) -> DictConfig:
        folder = f"dataset.source.root={tmp_path / 'own'}"
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", ["dataset=image_folder", folder, "method=guda_u", *overrides])

    return make


def test_the_table_of_the_recipe(rule: Rule) -> None:
    """The comment in the file says what the rule gives."""
    lines = [line for line in (CONF / "recipe" / "own.yaml").read_text().splitlines() if line.startswith("#   N =")]
    assert len(lines) == 5
    for line in lines:
        items, network = line.removeprefix("#   N =").replace(",", " ,").split(" ,")
        name, *_, steps, batch_size, rate, unlearn_steps, unlearn_rate = network.split()
        pretrained = {"base": name == "sd15", "lora": "train.lora" in line}
        values = rule.derive(int(items.replace(" ", "")), PARAMETERS[name], {}, **pretrained)
        assert (values["steps"], values["batch_size"], values["learning_rate"]) == (
            int(steps), int(batch_size), float(rate),
        )  # fmt: skip
        assert (values["unlearn.steps"], values["unlearn.learning_rate"]) == (int(unlearn_steps), float(unlearn_rate))


def test_what_is_given_is_taken_and_followed(rule: Rule) -> None:
    values = rule.derive(1000, 1, {"steps": 500, "learning_rate": 1e-3, "batch_size": 10})
    assert (values["warmup_steps"], values["unlearn.steps"], values["unlearn.warmup_steps"]) == (20, 20, 2)
    assert (values["unlearn.learning_rate"], values["unlearn.batch_size"]) == (1.5e-4, 10)
    assert values["ema"] == 0.99
    epochs = rule.derive(2000, 1, {"epochs": 10, "batch_size": 20})
    assert epochs["warmup_steps"] == rule.derive(2000, 1, {"steps": 1000})["warmup_steps"]
    assert rule.derive(10**7, 1, {})["ema"] < 1
    tiny = rule.derive(1, 1, {"steps": 1})
    assert tiny["unlearn.steps"] == 1 and tiny["ema"] == 0


def test_numbers_take_the_place_of_auto(own: Compose, caplog: pytest.LogCaptureFixture) -> None:
    cfg = own("dataset.recipe.unlearn.steps=77", "dataset.source.held_out=4")
    with caplog.at_level(logging.INFO):
        derive_recipe(cfg)
    assert (cfg.train.steps, cfg.train.batch_size, cfg.train.learning_rate) == (3000, 32, 2e-3)
    unlearn = cfg.method.unlearn
    assert (unlearn.steps, unlearn.learning_rate, unlearn.warmup_steps, unlearn.epochs) == (77, 3e-4, 8, None)
    assert "auto" not in OmegaConf.to_yaml(cfg.dataset.recipe)
    assert read_dataset(cfg.dataset).recipe.unlearn.batch_size == 32
    assert "The recipe for 18 training items and a network of 0.2" in caplog.text and "steps=3000" in caplog.text
    before = OmegaConf.to_yaml(cfg)
    caplog.clear()
    derive_recipe(cfg)
    assert OmegaConf.to_yaml(cfg) == before and not caplog.messages


def test_a_larger_network_learns_more_slowly(own: Compose) -> None:
    cfg = own("model.width=256", "model.heads=4", "dataset.source.condition=group")
    derive_recipe(cfg)
    assert 3e-4 < cfg.train.learning_rate < 7e-4
    assert cfg.method.unlearn.learning_rate == pytest.approx(0.15 * cfg.train.learning_rate, rel=0.05)


def test_what_starts_from_base_weights_learns_more_slowly_and_a_lora_faster(own: Compose, tmp_path: Path) -> None:
    save_pipeline(tmp_path / "sd", in_channels=3, out_channels=3, block_out_channels=(32, 64), norm_num_groups=8)
    text = ["model=sd15", f"model.weights={tmp_path / 'sd'}", "diffusion=diffusers", "+text@dataset.text=tokens"]
    rates = []
    for more in (["dataset.source.resolution=8"], ["train.lora.rank=2"], ["dataset.recipe.rule.base_parameters=1000"]):
        cfg = own(*text, *more)
        derive_recipe(cfg)
        assert cfg.method.unlearn.learning_rate == pytest.approx(0.15 * cfg.train.learning_rate, rel=0.05)
        rates.append(cfg.train.learning_rate)
    assert rates[1] == pytest.approx(10 * rates[0], rel=0.05) and rates[2] < rates[0] / 100
    given = own(*text, "train.lora.rank=2", "dataset.recipe.learning_rate=3e-5")
    derive_recipe(given)
    assert given.train.learning_rate == 3e-5


def test_what_cannot_be_derived_is_one_sentence(own: Compose, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^dataset\.recipe\.steps=auto needs a rule: .* recipe@dataset\.recipe=own"):
        derive_recipe(own("recipe@dataset.recipe=cpu", "dataset.recipe.steps=auto"))
    with pytest.raises(UserError, match=r"^dataset\.recipe\.rule\.epochs=0 must be at least 1"):
        derive_recipe(own("dataset.recipe.rule.epochs=0"))
    with pytest.raises(UserError, match=r"dataset\.source\.root=<folder>"):
        derive_recipe(own("dataset.source.root=/nowhere"))
    (tmp_path / "own" / "dark" / "0.png").write_text("no image")
    derive_recipe(own())
    for path in (tmp_path / "own").rglob("*.png"):
        path.write_text("no image")
    with pytest.raises(UserError, match="None of the training images can be read"):
        derive_recipe(own())
