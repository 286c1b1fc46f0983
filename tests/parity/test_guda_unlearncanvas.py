"""GUDA-C's constants as its public code has them: what ``experiment=guda_unlearncanvas`` composes to, value by
value."""

import json
from itertools import product
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from tdattr.configs import build
from tdattr.data.style_prompts import FORM
from tests.conftest import CONF

STYLES = [
    *("Abstractionism", "Artist Sketch", "Blossom Season", "Blue Blooming", "Bricks", "Byzantine", "Cartoon"),
    *("Cold Warm", "Color Fantasy", "Comic Etch", "Crayon", "Crypto Punks", "Cubism", "Dadaism", "Dapple"),
    "Defoliation",
]
TRAINING = {
    "model.name": "sd15",
    "model.f1": "trained",
    "codec.name": "vae",
    "codec.weights": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "codec.draw": True,
    "dataset.text.name": "tokens",
    "dataset.counts.train": 24000,  # 60 styles x 20 objects x 20
    "dataset.source.resolution": 256,
    "dataset.source.fit": "crop",
    "dataset.source.styles": None,
    "dataset.groups": "style",
    "train.steps": 10000,
    "train.batch_size": 80,
    "train.accumulate": 5,
    "train.learning_rate": 1e-6,
    "train.weight_decay": 0.01,
    "train.betas": [0.9, 0.999],
    "train.warmup_steps": 0,
    "train.schedule": "constant",
    "train.clip": 1.0,
    "train.ema": 0.9999,
    "train.ema_ramp": True,
    "train.keep": "ema",
    "train.mirror": True,
    "train.condition_dropout": 0.0,
    "train.selection": "last",
    "weights": "ema",
    "attributed_groups": STYLES,
}
DIFFUSION = {
    "diffusion.timesteps": 1000,
    "diffusion.schedule": "scaled_linear",
    "diffusion.beta_start": 0.00085,
    "diffusion.beta_end": 0.012,
    "diffusion.prediction": "epsilon",
    "diffusion.sampler": "dpm_solver",
    "diffusion.steps": 50,
    "queries.guidance": 7.5,
    "queries.prompts": "data/unlearncanvas/eval_prompts_ffsd_very_relaxed.jsonl",
    "queries.where": {"style": STYLES},
    "queries.attributed": 320,
    "queries.controls": 0,
}
UNLEARNING = {
    "method.unlearn.steps": 5000,
    "method.unlearn.kept": [1000, 2000, 3000, 4000],
    "method.scored": 2000,
    "method.unlearn.batch_size": 2,  # of each kind: a batch of four
    "method.unlearn.forgotten": None,
    "method.unlearn.learning_rate": 2e-6,
    "method.unlearn.optimizer": "adamw",
    "method.unlearn.weight_decay": 0.01,
    "method.unlearn.clip": None,
    "method.unlearn.schedule": "constant",
    "method.unlearn.warmup_steps": 0,
    "method.unlearn.mirror": False,
    "method.unlearn.condition_dropout": 0.0,
    "method.unlearn.retain": "distill",
    "method.objective.weight": 2.0,
    "method.objective.beta": 2.0,
    "method.objective.eta": 0.3,
    "method.objective.descriptors": 3,
    "method.objective.prompt": FORM,
    "method.objective.text.weights": "openai/clip-vit-large-patch14",
}
SCORING = {
    "method.elbo.t_min": 10,
    "method.elbo.t_max": None,  # 990
    "method.elbo.stride": 10,
    "method.elbo.draws": 1,
    "method.elbo.importance": None,
    "protocol.gold.elbo.stride": 10,
    "protocol.gold.repeats": 1,
}
# by id: β and η; the temperature; the number of descriptors; λ. All but these are the defaults
GRID = [(2.0, 0.3), (3.0, 0.3), (5.0, 0.3), (2.0, 0.1), (3.0, 0.1), (5.0, 0.1), (2.0, 0.0), (5.0, 0.0)]
ABLATIONS = {(beta, eta, 3, 2.0) for beta, eta in GRID}
ABLATIONS |= {(beta, 0.3, 3, 2.0) for beta in (0.5, 1.0, 2.0, 4.0)}
ABLATIONS |= {(2.0, 0.3, count, 2.0) for count in (1, 3, 5)}
ABLATIONS |= {(2.0, 0.3, 3, weight) for weight in (1.0, 2.0, 3.0)}
ABLATIONS |= {(2.0, 1.0, 3, 2.0)}  # styles drawn uniformly
# the learning rate, λ and ε of both lists of nine, the base first
LISTED = [
    *[(1e-6, 2.0, 0.1), (5e-7, 2.0, 0.1), (2e-6, 2.0, 0.1), (1e-6, 1.0, 0.1), (1e-6, 3.0, 0.1), (1e-6, 2.0, 0.05)],
    *[(1e-6, 2.0, 0.2), (5e-7, 3.0, 0.05), (2e-6, 1.0, 0.2)],
]


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*overrides], return_hydra_config=True)


def select(config: DictConfig, name: str) -> Any:
    value = OmegaConf.select(config, name, throw_on_missing=True)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def test_the_experiment() -> None:
    config = composed("experiment=guda_unlearncanvas", "method=guda_c", "paths.data=data")
    expected = TRAINING | DIFFUSION | UNLEARNING | SCORING
    assert {name: select(config, name) for name in expected} == expected
    method, diffusion = build(config.method, "method"), build(config.diffusion, "diffusion")
    terms = method.elbo.terms(diffusion)
    assert terms.tolist() == list(range(10, 991, 10)) and len(terms) == 99
    assert {method.unlearn.factor(23_600, 400)(step) for step in (0, 1, 4999)} == {1.0}


@pytest.mark.parametrize(
    ("objective", "values"),
    [
        ("uniform", {"eta": 1.0, "descriptors": 3, "text": None}),
        ("style_removed", {}),
        ("matched_retain", {"fields": ["object", "number"], "partner": "lookup", "noised": "partner"}),
        ("matched_retain_published_code", {"partner": "published_code", "noised": "partner"}),
    ],
)
def test_the_other_anchors(objective: str, values: dict[str, Any]) -> None:
    config = composed("experiment=guda_unlearncanvas", "method=guda_c", f"objective@method.objective={objective}")
    expected = {"name": objective, "weight": 2.0} | values
    assert {name: select(config.method.objective, name) for name in expected} == expected
    assert build(config.method, "method").name == f"guda_c-{objective}"


def swept(experiment: str, *names: str) -> list[Any]:
    """The methods of the sweep's jobs at one of the five points along the way; ``names``: what else it varies."""
    params = composed(f"experiment={experiment}").hydra.sweeper.params
    assert params["method.scored"] == "1000,2000,3000,4000,5000" and set(params) == {*names, "method.scored"}
    parsed = OverridesParser.create().parse_overrides([f"{name}={params[name]}" for name in names])
    values = [
        [f"{name}={value}" for value in one.sweep_string_iterator()] for name, one in zip(names, parsed, strict=True)
    ]
    jobs = product(*values)
    return [build(composed(f"experiment={experiment}", *job).method, "method") for job in jobs]


def test_the_ablations() -> None:
    """The sweep has every setting of the lists once, and all five points of each."""
    jobs = []
    for method in swept("guda_c_ablations", "method.objective"):
        made = method.objective
        jobs.append((made.beta, made.eta, made.descriptors, made.weight))
        assert json.dumps(method.describe())  # each has an address
    assert len(jobs) == len(set(jobs)) and set(jobs) == ABLATIONS


def test_the_grids() -> None:
    """Both lists of learning rates and weights, in which points that differ in ε alone are one."""
    jobs = []
    for method in swept("guda_c_grids", "objective@method.objective", "method"):
        made = method.objective
        jobs.append((made.name, method.unlearn.learning_rate, made.weight))
        assert method.unlearn.points == [1000, 2000, 3000, 4000, 5000]
        assert json.dumps(method.describe())
    assert len(jobs) == len(set(jobs))
    assert set(jobs) == {(name, rate, weight) for name in ("awss", "style_removed") for rate, weight, _ in LISTED}
