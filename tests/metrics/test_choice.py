"""Which measures a run takes, and how what a command says of one meets its own settings."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tdattr.errors import UserError
from tdattr.features import Setting
from tdattr.metrics.choice import choose_measures, complete_measures
from tdattr.metrics.perceptual import LPIPS
from tdattr.metrics.similarity import SSIM
from tdattr.search_path import CONF

OWN = Path(__file__).parents[1] / "plugins" / "measure" / "conf"


def complete(*overrides: str, folders: tuple[Path, ...] = ()) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [*overrides])
    complete_measures(cfg, [SimpleNamespace(schema="file", path=str(folder)) for folder in folders])
    return cfg


def test_every_file_of_the_group_is_a_measure() -> None:
    measures = complete().measures
    assert set(measures) == {path.stem for path in (CONF / "measure").glob("*.yaml")}
    assert measures.lpips.weights.endswith("/vgg16-397923af.pth")  # refers to another node
    assert "gray_level" not in measures
    assert complete(folders=(OWN,)).measures.gray_level.scale == 2


def test_a_command_changes_a_setting_or_a_whole_measure(setting: Setting) -> None:
    cfg = complete(
        "measures.ssim.sigma=3",
        "measures.clip.extractor.weights=here",
        "+measure@measures.lpips=lpips_alex",
        "+extractor@measures.sscd.extractor=dino",
        "measures.gray_level.scale=0.5",
        folders=(OWN,),
    )
    assert choose_measures(["ssim"], cfg.measures, setting) == {"ssim": SSIM(sigma=3, window=11)}
    assert (cfg.measures.clip.extractor.weights, cfg.measures.clip.extractor.name) == ("here", "clip_l14")
    assert (cfg.measures.lpips.net, cfg.measures.lpips._target_) == ("alex", f"{LPIPS.__module__}.LPIPS")
    assert (cfg.measures.sscd.extractor.name, "sha256" in cfg.measures.sscd.extractor) == ("dino", False)
    assert cfg.measures.gray_level.scale == 0.5


def test_completing_twice_changes_nothing() -> None:
    cfg = complete("measures.ssim.sigma=3")
    before = cfg.copy()
    complete_measures(cfg)
    assert cfg == before


@pytest.mark.parametrize("wrong", ["measures.sism.sigma=3", "measures.gray_level=2"])
def test_a_setting_of_no_measure_is_named(wrong: str) -> None:
    name = wrong.split("=")[0].split(".")[1]
    with pytest.raises(UserError, match=rf"^measures\.{name} is a setting of no measure: choose one of classifier, cl"):
        complete(wrong)


def test_a_setting_that_a_measure_has_not_is_named(setting: Setting) -> None:
    with pytest.raises(UserError, match=r"^measures\.ssim\.sgima: .*sgima"):
        choose_measures(["ssim"], complete("measures.ssim.sgima=3").measures, setting)


def test_a_class_that_is_no_measure_is_named(setting: Setting) -> None:
    cfg = complete("+extractor@measures.dino=dino")
    with pytest.raises(UserError, match=r"measures\.dino\._target_ must name a Measure, which Timm is not"):
        choose_measures(["dino"], cfg.measures, setting)


def test_a_measure_that_reads_a_file_must_say_what_lies_there(setting: Setting) -> None:
    class Forgetful(LPIPS):
        def identity(self, setting: Setting) -> Any:
            return super(LPIPS, self).identity(setting)

    with pytest.raises(TypeError, match=r"Forgetful.identity must say what url, weights stand for"):
        Forgetful("vgg", "a", "b", "c", 1).identity(setting)
