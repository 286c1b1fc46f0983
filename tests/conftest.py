"""What all tests share: one thread, and a dataset, a network and settings so small that nothing takes long."""

import os
import signal

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
os.environ["WANDB_MODE"] = "offline"
signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background ignores it, also for children

from tests.shapes import check_annotations

check_annotations()  # before tdattr is imported

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from tdattr.configs import build
from tdattr.data.preparation import prepare
from tdattr.data.prepared import Example, Prepared, Source, load, one_hot
from tdattr.diffusion.edm import EDM
from tdattr.features import Setting
from tdattr.methods import Context
from tdattr.networks.dit import DiTConfig
from tdattr.networks.lora import LoraConfig
from tdattr.search_path import CONF
from tdattr.store import Plan, Store
from tdattr.training.config import AugmentationConfig, TrainConfig, TrainerConfig
from tests.contexts import plain_context

CLASSES = 4
SIZES = {"train": 48, "test": 8}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the group of tests that this machine could not run."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if "slurm" in report.keywords]
    for reason in sorted({report.longrepr[2] for report in skipped}):
        terminalreporter.write_line(f"tests/slurm: {len(skipped)} tests not run. {reason}", yellow=True)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The machine has other work."""
    torch.set_num_threads(1)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """For a test of what happens to arguments that their annotations do not allow."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@dataclass(frozen=True)
class TinySource(Source):
    """Random 8 x 8 gray images in four classes; the class is the condition and the field ``label``."""

    seed: int = 0

    def fingerprint(self) -> dict[str, str]:
        return {"seed": str(self.seed)}

    def count(self, split: str) -> int:
        return SIZES[split]

    def examples(self, split: str) -> Iterator[Example]:
        rng = np.random.default_rng([self.seed, len(split)])
        for _ in range(SIZES[split]):
            label = int(rng.integers(CLASSES))
            image = rng.integers(256, size=(8, 8, 1), dtype=np.uint8)
            yield Example(image=image, condition=one_hot(label, CLASSES), fields={"label": f"class {label}"})


@pytest.fixture(scope="session")
def tiny_source() -> TinySource:
    """48 training and 8 test items."""
    return TinySource()


@pytest.fixture(scope="session")
def tiny_data(tiny_source: TinySource, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """``tiny_source`` in its prepared form."""
    folder = tmp_path_factory.mktemp("tiny")
    prepare(tiny_source, folder, "tiny")
    return load(folder)


@pytest.fixture
def setting(tiny_data: Prepared, tmp_path: Path) -> Setting:
    """What extractors and measures may use, on the tiny data; artifacts lie in ``tmp_path / artifacts``."""
    store = Store(tmp_path / "artifacts", "cpu")

    def plan(stage: str, version: int, config: Any, build: Any) -> Plan:
        return store.plan(stage, version, config, {"dataset": tiny_data.content}, build)

    return Setting(lambda: tiny_data, torch.device("cpu"), 10, 3, False, plan)


@pytest.fixture(scope="session")
def edm() -> EDM:
    """EDM with the published figures."""
    return build(OmegaConf.load(CONF / "diffusion" / "edm.yaml"), "diffusion")


@pytest.fixture(scope="session")
def tiny_config() -> DiTConfig:
    """A DiT of one block, 16 wide, without a frame."""
    return DiTConfig(
        name="tiny",
        blocks=1,
        width=16,
        heads=2,
        mlp_ratio=2,
        patch=2,
        registers=2,
        dropout=0.0,
        embedding_width=16,
        sigma_dropout=0.0,
        frame_channels=[],
        frame_strides=[],
        frame_kernel=3,
        augmentation_label=True,
        c_noise="log_sigma",
    )


@pytest.fixture(scope="session")
def tiny_dit(tiny_config: DiTConfig) -> Callable[..., nn.Module]:
    """``tiny_dit(condition)`` builds one for the tiny data, the same every time, in evaluation mode.

    ``spread`` adds noise to every weight, so that nothing in it is zero any more. Other names change the config.
    """

    def make(condition: int = CLASSES, spread: float = 0.0, **changes: Any) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = replace(tiny_config, **changes).build(1, 8, condition)
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter += spread * torch.randn_like(parameter)
        return network.eval()

    return make


@pytest.fixture(scope="session")
def augmentation() -> Callable[..., AugmentationConfig]:
    """EDM's augmentation, switched on; names change values."""

    def make(**changes: Any) -> AugmentationConfig:
        config = AugmentationConfig(
            enabled=True, probability=0.12, scale=0.2, anisotropy=0.2, slanted_stretch=0.5, translation=0.125
        )
        return replace(config, **changes)

    return make


@pytest.fixture(scope="session")
def tiny_train(augmentation: Callable[..., AugmentationConfig]) -> Callable[..., TrainConfig]:
    """A training of a dozen steps; names change values."""

    def make(**changes: Any) -> TrainConfig:
        config = TrainConfig(
            steps=12,
            epochs=None,
            drop_last=True,
            batch_size=8,
            accumulate=1,
            learning_rate=1e-3,
            weight_decay=0.01,
            betas=[0.9, 0.999],
            epsilon=1e-8,
            warmup_steps=2,
            warmup_share=None,
            ema=0.9,
            ema_ramp=False,
            keep="both",
            condition_dropout=0.3,
            mirror=False,
            coupled=False,
            removal="replaced",
            epoch_steps=6,
            validation_draws=2,
            schedule="constant",
            schedule_steps=None,
            schedule_epochs=None,
            clip=None,
            selection="last",
            patience=None,
            trainable="all",
            lora=LoraConfig(None, None, []),
            augmentation=augmentation(enabled=False),
        )
        return replace(config, **changes)

    return make


@pytest.fixture(scope="session")
def tiny_trainer() -> Callable[..., TrainerConfig]:
    """One CPU; names change values."""

    def make(**changes: Any) -> TrainerConfig:
        config = TrainerConfig(
            accelerator="cpu",
            devices=1,
            strategy="ddp_spawn",
            precision="32-true",
            workers=0,
            threads=1,
            stack=1,
            scoring_batch=64,
            scoring_precision="float32",
            gradient_batch=16,
            metagradient_batch=16,
            feature_batch=10,
        )
        return replace(config, **changes)

    return make


@pytest.fixture
def make_context(
    tiny_data: Prepared,
    edm: EDM,
    tiny_train: Callable[..., TrainConfig],
    tiny_trainer: Callable[..., TrainerConfig],
    setting: Setting,
) -> Callable[..., Context]:
    """``make_context()`` is what a method is given, on the tiny data; names change parts of it."""
    known = {"data": tiny_data, "diffusion": edm, "train": tiny_train(), "trainer": tiny_trainer(), "setting": setting}
    return lambda **changes: plain_context(**(known | changes))
