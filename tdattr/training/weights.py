"""Weights in files: the settings that they were trained for, and their check before anything is computed."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.networks.weights import check_tensors

log = logging.getLogger(__name__)
TRAINED_FOR = "tdattr.diffusion"  # in the metadata of a file that a training wrote
RENAMED = {"code": "c_noise"}  # old names of settings, which older files may hold
ADDED = {"ddpm": {"prediction": "epsilon", "zero_terminal_snr": False}}  # what older files do not say was so


def make_metadata(diffusion: Diffusion) -> dict[str, str]:
    """The metadata of a file of weights: the settings of the variant that they were trained for."""
    return {TRAINED_FOR: json.dumps(training_values(diffusion))}


def check_trained(network: nn.Module, label: str, remedy: str = "lower train.learning_rate") -> None:
    """Raise UserError where a training, named by ``label``, ended in weights that are not finite."""
    wrong = next((name for name, value in network.state_dict().items() if not value.isfinite().all()), None)
    if wrong is not None:
        raise UserError(f"{label}: the weights in {wrong} are not finite; {remedy}.")


def training_values(diffusion: Diffusion) -> dict[str, Any]:
    """The settings of a variant that its training reads; weights fit no other values of them."""
    values: dict[str, Any] = asdict(diffusion)  # type: ignore[call-overload]
    return {name: value for name, value in values.items() if name not in diffusion.sampling}


def check_weights(path: Path, network: nn.Module, diffusion: Diffusion, key: str = "checkpoint") -> None:
    """Raise UserError where a safetensors file does not hold this network's weights, or says that they were trained
    for another variant or another number of timesteps, or holds numbers that are not finite; before anything is
    computed. Warns where it does not say what it was trained for.
    ``key``: where the path stands in the config."""
    if not path.is_file():
        raise UserError(f"{key}={path} is not a file: give the path of a .safetensors file.")
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            trained: dict[str, Any] = json.loads((file.metadata() or {}).get(TRAINED_FOR, "{}"))
    except Exception as error:
        raise UserError(f"{key}={path} is not a readable safetensors file ({error}).") from error
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    if shapes != expected:
        wrong = sorted(name for name in shapes.keys() | expected.keys() if shapes.get(name) != expected.get(name))
        raise UserError(
            f"{key}={path} was made by another architecture: {len(wrong)} of its tensors do not fit this model, "
            f"the first {wrong[0]} (file {shapes.get(wrong[0])}, model {expected.get(wrong[0])}); "
            "choose the model that it was trained with."
        )
    check_tensors(path, f"{key}={path}")
    trained = {RENAMED.get(name, name): value for name, value in trained.items()}
    trained = ADDED.get(trained.get("name", ""), {}) | trained
    values = training_values(diffusion)
    if not trained:
        log.warning("%s=%s does not say what it was trained for: it is taken to be %s.", key, path, values)
    other = {name: value for name, value in trained.items() if values.get(name) != value}
    if other:
        overrides = (
            [f"diffusion={other['name']}"] if "name" in other else [f"diffusion.{n}={v}" for n, v in other.items()]
        )
        raise UserError(f"{key}={path} was trained with {' '.join(overrides)}: set that, or give other weights.")
