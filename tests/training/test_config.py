"""Lengths of a training, in steps or in epochs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from tdattr.configs import build
from tdattr.errors import UserError
from tdattr.training.config import TrainConfig

CONF = Path(__file__).parents[2] / "conf"


def composed(*overrides: str) -> TrainConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = build(compose("config", overrides).train, "train")
    assert isinstance(config, TrainConfig)
    return config


def test_epochs_count_the_items_that_are_left() -> None:
    """GUDA on CIFAR-10: 2 600 epochs planned and 2 400 taken, of 195 and 175 steps."""
    guda = composed("experiment=guda_cifar10")
    for items, planned, taken in ((50_000, 507_000, 468_000), (45_000, 455_000, 420_000)):
        config = guda.in_steps(items)
        assert (config.steps, config.schedule_steps, config.epochs, config.warmup_steps) == (taken, planned, None, 5000)
        assert guda.count_steps(items) == taken
        assert composed("experiment=guda_cifar10", "train.epochs=2600").count_steps(items) == planned
        assert config.coupled is False
        assert 0 < config.rate(taken) < 0.05 and config.rate(planned) == 0


def test_a_last_batch_may_count() -> None:
    """D-TRAK's CIFAR-2: 200 epochs of 40 steps for 5 000 items, of 20 for half of them; a tenth is warm-up."""
    recipe = composed("dataset=cifar2")
    for items, steps in ((5000, 8000), (2500, 4000)):
        config = recipe.in_steps(items)
        assert (config.steps, config.warmup_steps, config.schedule_steps) == (steps, steps // 10, steps)
    assert (recipe.schedule, recipe.weight_decay, recipe.clip, recipe.betas) == ("cosine", 1e-6, 1.0, [0.95, 0.999])
    assert composed("dataset=celeba") == recipe


def test_lengths_are_counted_in_steps(tiny_train: Callable[..., TrainConfig]) -> None:
    assert tiny_train(steps=7).count_steps(48) == 7
    epochs = {"steps": None, "epochs": 3, "schedule": "cosine"}
    assert tiny_train(**epochs).count_steps(48) == 18
    assert tiny_train(**epochs).count_steps(5) == 3  # fewer items than a batch: a step each
    planned = tiny_train(**epochs, schedule_epochs=4).in_steps(48)
    assert planned.schedule_steps == 24 and planned.rate(18) > tiny_train(**epochs).in_steps(48).rate(18) == 0
    assert tiny_train(steps=7, schedule="cosine", schedule_steps=100).in_steps(48).schedule_steps == 100
    share = tiny_train(steps=20, warmup_steps=None, warmup_share=0.25).in_steps(48)
    assert (share.warmup_steps, share.rate(1), share.rate(19)) == (5, 0.4, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": None}, r"train\.steps and train\.epochs are both null: give one of them"),
        ({"epochs": 3}, r"train\.steps=12 and train\.epochs=3: give one of them"),
        ({"warmup_share": 0.1}, r"train\.warmup_steps=2 and train\.warmup_share=0\.1: give one of them"),
        ({"schedule_steps": 9}, r"schedule_epochs have no effect with train\.schedule=constant"),
        (
            {"schedule": "cosine", "schedule_steps": 9, "schedule_epochs": 3},
            r"train\.schedule_steps=9 and .*: give one",
        ),
        ({"steps": None, "epochs": 3, "coupled": True}, r"train\.coupled=true .* set those, or train\.coupled=false"),
        ({"removal": "empty"}, r"train\.removal=empty is for coupled trainings: set train\.coupled=true"),
        ({"betas": [0.9]}, r"train\.betas=\[0\.9\] must be two numbers"),
    ],
)
def test_what_cannot_be_is_refused(
    tiny_train: Callable[..., TrainConfig], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        tiny_train(**changes)


def test_a_plan_that_ends_before_the_training_is_refused(tiny_train: Callable[..., TrainConfig]) -> None:
    for plan in ({"schedule_steps": 11}, {"schedule_epochs": 1}):
        with pytest.raises(UserError, match=r"rate would be zero after \d+ of 12 steps"):
            tiny_train(schedule="cosine", **plan).in_steps(48)
    with pytest.raises(UserError, match=r"train\.coupled=true .* lengths in steps"):
        tiny_train(schedule="cosine", schedule_epochs=9, coupled=True)
