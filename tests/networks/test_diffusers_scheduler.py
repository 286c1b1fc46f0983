"""Every scheduler of diffusers and every setting of those that are adopted: as diffusers has it, or an error."""

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from diffusers.utils import DummyObject

from tdattr.errors import UserError
from tdattr.networks.diffusers_scheduler import (
    SAMPLERS,
    SAMPLING,
    TRAINED_AS_DDPM,
    TRAINING,
    defaults,
    read_scheduler,
)
from tests.diffusion.fakes import SHAPE, Recorder, rngs, variant

FILE = "scheduler_config.json"
CLASSES = sorted(
    name
    for name in dir(diffusers)
    if name.endswith("Scheduler") and not isinstance(getattr(diffusers, name), DummyObject)
)
OTHER: dict[str, Any] = {  # a value of a setting that stands for all that are not its default
    "beta_schedule": "sigmoid",
    "trained_betas": [0.1, 0.2],
    "prediction_type": "sample",
    "timestep_type": "continuous",
    "timestep_spacing": "random",
    "variance_type": "learned",
    "solver_type": "heun",
    "algorithm_type": "sde-dpmsolver++",
    "final_sigmas_type": "sigma_min",
    "lambda_min_clipped": -5.1,
    "solver_order": 3,
}
ADOPTED = {  # another value of a setting, and what it is in ours
    "num_train_timesteps": (50, {"timesteps": 50}),
    "beta_start": (0.001, {"beta_start": 0.001}),
    "beta_end": (0.05, {"beta_end": 0.05}),
    "beta_schedule": ("squaredcos_cap_v2", {"schedule": "cosine"}),
    "prediction_type": ("v_prediction", {"prediction": "v_prediction"}),
    "timestep_spacing": ("trailing", {"spacing": "trailing"}),
    "steps_offset": (1, {"offset": 1}),
    "set_alpha_to_one": (False, {"end": "first"}),
    "clip_sample": (False, {"clip": None}),
    "clip_sample_range": (2.0, {"clip": 2.0}),
}


def write(folder: Path, name: str, **said: Any) -> Path:
    (folder / FILE).write_text(json.dumps({"_class_name": name, "_diffusers_version": "0.42.0"} | said))
    return folder / FILE


def adopted(path: Path, sampler: str | None = None) -> dict[str, Any]:
    scheduler = read_scheduler(path)
    return scheduler.training() | scheduler.sampling(sampler)


@pytest.mark.parametrize("name", CLASSES)
def test_every_scheduler_is_adopted_or_refused_by_its_name(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name)
    if name not in TRAINED_AS_DDPM:
        with pytest.raises(UserError, match=rf"is of the class {name}, and how networks are trained for it is not"):
            read_scheduler(path)
        return
    theirs = getattr(diffusers, name)()
    theirs.save_pretrained(tmp_path)
    trained = variant("ddpm", **read_scheduler(path).training())
    torch.testing.assert_close(trained.alpha_bar.float(), theirs.alphas_cumprod, rtol=1e-3, atol=1e-6)
    if name in SAMPLERS:
        assert adopted(path)["sampler"] == SAMPLERS[name]
    else:
        with pytest.raises(UserError, match=rf"class {name}, whose sampler is not implemented: choose another"):
            adopted(path)
    for sampler in SAMPLERS.values():
        assert variant("ddpm", **adopted(path, sampler)).sampler == sampler


@pytest.mark.parametrize("name", TRAINED_AS_DDPM)
def test_every_setting_of_a_training_is_adopted_or_refused_by_its_name(name: str, tmp_path: Path) -> None:
    """Whether or not the scheduler's way of sampling is implemented."""
    plain = read_scheduler(write(tmp_path, name)).training()
    for key in TRAINING.keys() & defaults(name).keys():
        if key in ADOPTED:
            value, expected = ADOPTED[key]
            assert read_scheduler(write(tmp_path, name, **{key: value})).training() == plain | expected
        if TRAINING[key] is not None:
            with pytest.raises(UserError, match=rf"has {key}=.*, which is not implemented: "):
                read_scheduler(write(tmp_path, name, **{key: OTHER.get(key, True)})).training()


@pytest.mark.parametrize(("name", "key"), [(name, key) for name in SAMPLERS for key in defaults(name)])
def test_every_setting_is_adopted_or_refused_by_its_name(name: str, key: str, tmp_path: Path) -> None:
    """A setting that neither changes what is adopted nor is refused must be one that is known to matter to nothing."""
    default = defaults(name)[key]
    known = TRAINING | SAMPLING[name]
    plain = adopted(write(tmp_path, name))
    if known.get(key, ()) is not None:
        value = OTHER.get(key, not default if isinstance(default, bool) else 7)
        with pytest.raises(UserError, match=rf"scheduler_config.json has {key}=.*, which is not implemented: "):
            adopted(write(tmp_path, name, **{key: value}))
    if key in ADOPTED:
        value, expected = ADOPTED[key]
        allowed = known[key]
        if allowed is None or value in allowed:
            found = adopted(write(tmp_path, name, **{key: value}))
            read = {ours: setting for ours, setting in expected.items() if found[ours] != plain[ours]}
            assert read == expected or name != "DDIMScheduler"
            assert found == plain | read


@pytest.mark.parametrize(("name", "key"), [(name, key) for name in SAMPLERS for key in defaults(name)])
@pytest.mark.parametrize("value", ["1000", "0.5", True, 1.5, "text", None, [1.0], {}])
def test_values_of_the_wrong_kind_are_errors(name: str, key: str, value: Any, tmp_path: Path) -> None:
    """Whatever is wrong is said of the file and the setting; nothing else is raised."""
    default, allowed = defaults(name)[key], (TRAINING | SAMPLING[name])[key]
    kinds = (int, float) if type(default) is float else (type(default),)
    path = write(tmp_path, name, **{key: value})
    if value in (allowed or ()) or (allowed is None and type(value) in kinds):
        adopted(path)
        return
    with pytest.raises(UserError, match=rf"{FILE} has {key}[= ].*\.$"):
        adopted(path)


def test_a_setting_that_no_scheduler_reads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"has predicton_type, which no such scheduler of diffusers reads: mind its spe"
    ):
        read_scheduler(write(tmp_path, "DDIMScheduler", predicton_type="v_prediction"))
    carried = write(tmp_path, "DDIMScheduler", skip_prk_steps=True, variance_type="fixed_large")  # of other schedulers
    assert adopted(carried) == adopted(write(tmp_path, "DDIMScheduler"))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (DDPMScheduler(), {"sampler": "ancestral", "clip": 1.0, "variance": "small"}),
        (DDPMScheduler(variance_type="fixed_large", clip_sample=False), {"variance": "large", "clip": None}),
        (DDPMScheduler(variance_type="fixed_small_log"), {"variance": "small"}),
        (
            DDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"),
            {"prediction": "v_prediction", "zero_terminal_snr": True, "spacing": "trailing", "sampler": "ddim"},
        ),
        (DDIMScheduler(steps_offset=1, set_alpha_to_one=False), {"offset": 1, "end": "first", "spacing": "leading"}),
        (
            DPMSolverMultistepScheduler(beta_schedule="squaredcos_cap_v2"),
            {"sampler": "dpm_solver", "schedule": "cosine"},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_schedulers_as_they_are_saved(theirs: Any, ours: dict[str, Any], tmp_path: Path) -> None:
    theirs.save_pretrained(tmp_path)
    found = adopted(tmp_path / FILE)
    assert found | ours == found
    diffusion = variant("ddpm", **found, c_noise="timestep", steps=20)
    torch.testing.assert_close(diffusion.alpha_bar.float(), theirs.alphas_cumprod, rtol=2e-3, atol=1e-6)
    assert diffusion.sample(Recorder(torch.zeros(2, *SHAPE)), rngs(2), SHAPE).isfinite().all()


def test_another_sampler_takes_what_it_has_in_common(tmp_path: Path) -> None:
    """As diffusers' ``from_config`` does, which is how a pipeline gets another scheduler."""
    stable = {"steps_offset": 1, "set_alpha_to_one": False, "skip_prk_steps": True, "clip_sample": False}
    path = write(tmp_path, "PNDMScheduler", beta_schedule="scaled_linear", **stable)
    expected = DDIMScheduler.from_config(json.loads(path.read_text())).config
    found = adopted(path, "ddim")
    assert (found["offset"], found["clip"]) == (expected["steps_offset"], None)
    assert found["end"] == ("clean" if expected["set_alpha_to_one"] else "first") == "first"
    assert adopted(path, "dpm_solver")["offset"] == 0  # it has none
