"""Weights in files: the settings that they were trained for, and their check before anything is computed."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.networks import Network
from tdattr.networks.lora import LoraConfig, adapter_metadata
from tdattr.networks.weights import check_tensors
from tdattr.pretrained import PICKLES

log = logging.getLogger(__name__)
TRAINED_FOR = "tdattr.diffusion"  # in the metadata of a file that a training wrote
RENAMED = {"code": "c_noise"}  # old names of settings, which older files may hold
SAVED = "diffusion_pytorch_model.safetensors"  # the weights of a network that diffusers has saved
KINDS = {  # of files, by the first parts of names that Stable Diffusion, transformers and diffusers give tensors
    "a whole pipeline in one file, which diffusers saves as folders": {"model.diffusion_model", "first_stage_model"},
    "a VAE, whose folder is given with codec=vae codec.weights=FOLDER": {"encoder.conv_in", "decoder.conv_in"},
    "a text encoder or a CLIP": {"text_model", "vision_model"},
}
ADDED = {"ddpm": {"prediction": "epsilon", "zero_terminal_snr": False}}  # what older files do not say was so


def make_metadata(diffusion: Diffusion, adapter: LoraConfig) -> dict[str, str]:
    """The metadata of a file of weights: the settings of the variant that they were trained for, and those of the
    adapter that they are."""
    return {TRAINED_FOR: json.dumps(training_values(diffusion))} | adapter_metadata(adapter)


def check_trained(weights: Mapping[str, Tensor], label: str, remedy: str = "lower train.learning_rate") -> None:
    """Raise UserError where a training, named by ``label``, ended in weights that are not finite."""
    wrong = next((name for name, value in weights.items() if not value.isfinite().all()), None)
    if wrong is not None:
        raise UserError(f"{label}: the weights in {wrong} are not finite; {remedy}.")


def training_values(diffusion: Diffusion) -> dict[str, Any]:
    """The settings of a variant that its training reads; weights fit no other values of them."""
    values: dict[str, Any] = asdict(diffusion)  # type: ignore[call-overload]
    return {name: value for name, value in values.items() if name not in diffusion.sampling}


def find_weights(path: Path) -> Path:
    """The file of weights at a path: itself or, where it is a folder in which diffusers has saved a network or a
    pipeline, the one in it."""
    inside = (path / SAVED, path / "unet" / SAVED)
    return next((file for file in inside if file.is_file()), path)


def check_weights(path: Path, network: Network, diffusion: Diffusion, key: str = "checkpoint") -> None:
    """Raise UserError where a safetensors file does not hold this network's weights, or says that they were trained
    for another variant or another number of timesteps, or holds numbers that are not finite; before anything is
    computed. Warns where it does not say what it was trained for.
    ``key``: where the path stands in the config."""
    found = read_header(path, key)[0]
    names = network.name_saved(found)
    shapes = {names[name]: shape for name, shape in found.items()}
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    if shapes != expected:
        wrong = sorted(name for name in shapes.keys() | expected.keys() if shapes.get(name) != expected.get(name))
        if (kind := guess_kind(found)) is not None:
            raise UserError(f"{key}={path} seems to be {kind}, not the weights of a network like this model's.")
        inside = all(expected.get(name) == shape for name, shape in shapes.items())
        part = ", and train.trainable as it was trained with" if inside or network.adapted else ""
        hint = ", or model=diffusers model.path=FOLDER for one that diffusers has saved" if path.name == SAVED else ""
        raise UserError(
            f"{key}={path} was made by another architecture: of its tensors and this model's {len(wrong)} do not fit, "
            f"the first {wrong[0]} (file {shapes.get(wrong[0])}, model {expected.get(wrong[0])}); "
            f"choose the model that it was trained with{part}{hint}."
        )
    check_tensors(path, f"{key}={path}")
    check_variant(path, diffusion, key)


def guess_kind(names: Iterable[str]) -> str | None:
    """What a file with tensors of these names seems to be, and how that is given instead; None where nobody knows."""
    parts = {".".join(name.split(".")[:length]) for name in names for length in (1, 2)}
    return next((kind for kind, marks in KINDS.items() if parts & marks), None)


def read_header(path: Path, key: str) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """The shapes of the tensors in a safetensors file, by their names, and its metadata. Raises UserError where it is
    none, and for pickles, which are not opened."""
    if path.suffix.lower() in PICKLES:
        raise UserError(f"{key}={path} is a pickle, which can run any program: give a .safetensors file.")
    if not path.is_file():
        what = f"a folder without {SAVED}" if path.is_dir() else "not a file"
        raise UserError(f"{key}={path} is {what}: give the path of a .safetensors file.")
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            metadata: dict[str, str] = file.metadata() or {}
    except Exception as error:
        raise UserError(f"{key}={path} is not a readable safetensors file ({error}).") from error
    if not shapes:
        raise UserError(f"{key}={path} holds no tensors: give a file with weights.")
    return shapes, metadata


def check_variant(path: Path, diffusion: Diffusion, key: str) -> None:
    """Raise UserError where a safetensors file says that its weights were trained for another variant; warns where it
    says nothing."""
    try:
        trained: dict[str, Any] = json.loads(read_header(path, key)[1].get(TRAINED_FOR, "{}"))
    except ValueError as error:
        raise UserError(f"{key}={path} is not a readable safetensors file ({error}).") from error
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
