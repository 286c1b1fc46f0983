"""A LoRA file of the user's own: what is in it, and whether it is one of this base model."""

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from tdattr.errors import UserError, first_line
from tdattr.networks import Network
from tdattr.networks.lora import IN_FILE, METADATA, PREFIX, LoraConfig, adapt, name_in_file
from tdattr.networks.weights import check_finite

SECOND_ENCODER = ("lora_te2_", "text_encoder_2.")  # which Stable Diffusion XL has
ENCODER = ("lora_te", "text_encoder")
OTHER_KINDS = ("dora_scale", "lora_magnitude_vector", "hada_", "lokr_", "oft_")  # of adapters, by parts of names
OTHER_SETTINGS = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "lora_bias")  # that are not implemented


@dataclass(frozen=True)
class LoraFile:
    """``config``: how a base model is adapted so that it takes ``weights``, named as ``Network.weights`` names them."""

    config: LoraConfig
    weights: dict[str, Tensor]


def holds_lora(names: Collection[str]) -> bool:
    """Whether a file with tensors of these names is a LoRA."""
    return any("lora" in name for name in names)


def read_lora(path: Path, model: Network, given: LoraConfig, subject: str) -> LoraFile:
    """The LoRA in a safetensors file, as diffusers or kohya's scripts write it, for the base ``model``, an outline.

    What ``given`` leaves open is the file's: all where its rank is None. Raises UserError where the file is no LoRA of
    the model's U-Net alone, or not the given one. ``subject``: the file as messages name it.
    """
    tensors, alphas = convert(path, subject)
    modules = dict(model.named_modules())
    layers = {IN_FILE.sub("", name) for name in tensors}
    unknown = sorted(layers - modules.keys())
    if unknown:
        raise UserError(
            f"{subject} is a LoRA of another model: {len(unknown)} of its {len(layers)} layers are not in this one, "
            f"such as {unknown[0]}."
        )
    ranks = {tensor.shape[0] for name, tensor in tensors.items() if ".lora_A." in name}
    if len(ranks) > 1 or len(alphas) > 1:
        raise UserError(
            f"{subject} has layers of the ranks {sorted(ranks)} and the alphas {sorted(alphas)}: give a LoRA with one "
            "rank and one alpha for all layers."
        )
    own = LoraConfig(ranks.pop(), alphas.pop() if alphas else given.alpha, find_ends(layers, modules))
    config = own if given.rank is None else check_given(own, given, subject)
    adapt(model, config)
    expected = {name_in_file(name): tuple(value.shape) for name, value in model.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    wrong = sorted(name for name in shapes.keys() | expected.keys() if shapes.get(name) != expected.get(name))
    if wrong:
        name = wrong[0]
        raise UserError(
            f"{subject} is a LoRA of another model, or of other layers than train.lora.targets: {len(wrong)} tensors "
            f"do not fit, such as {name} (file {shapes.get(name)}, model {expected.get(name)})."
        )
    return LoraFile(config, tensors)


def check_given(own: LoraConfig, given: LoraConfig, subject: str) -> LoraConfig:
    """The given settings. Raises UserError where the file says something else."""
    assert given.rank is not None
    wrong = given.rank != own.rank or (own.alpha is not None and given.scaled != own.alpha)
    if wrong:
        alpha = "" if own.alpha is None else f" and the alpha {own.alpha:g}"
        raise UserError(
            f"{subject} is a LoRA of the rank {own.rank}{alpha}, not of train.lora.rank={given.rank} and the alpha "
            f"{given.scaled:g}: leave train.lora out, and the file's are taken."
        )
    return given


def convert(path: Path, subject: str) -> tuple[dict[str, Tensor], set[float]]:
    """The tensors of a LoRA in float32, named as peft does below the parts of a pipeline, and the alphas of its layers
    where it says them. Raises UserError for another kind of file."""
    from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin  # takes seconds to import
    from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft

    tensors = load_file(path)
    check_kind(tensors, subject)
    with safe_open(path, framework="pt") as file:
        settings = read_settings(file.metadata() or {}, subject)
    try:
        state, alphas = StableDiffusionLoraLoaderMixin.lora_state_dict(tensors)
        state = convert_unet_state_dict_to_peft(state)  # which leaves peft's names as they are
    except Exception as error:  # diffusers raises many, for names that it does not know
        raise UserError(f"{subject} is no LoRA that diffusers can read ({first_line(error)}).") from error
    other = sorted(name for name in state if not (name.startswith(PREFIX) and IN_FILE.search(name)))
    if other or not state:
        what = f"holds {other[0]}, which is no part of a LoRA of a U-Net" if other else "holds no layer of a U-Net"
        raise UserError(f"{subject} {what}: give a LoRA of a Stable Diffusion 1.x.")
    for name, value in state.items():
        check_finite(name, value, subject)
    said = {float(alpha) for alpha in (alphas or {}).values()} | settings
    if alphas:  # kohya's, of each layer; one without has the rank in its place
        own = {IN_FILE.sub("", name.removesuffix(".alpha")) for name in convert_unet_state_dict_to_peft(alphas)}
        down = {IN_FILE.sub("", name): tensor for name, tensor in state.items() if ".lora_A." in name}
        said |= {float(tensor.shape[0]) for layer, tensor in down.items() if layer not in own}
    return {name: value.float().contiguous() for name, value in state.items()}, said


def check_kind(names: Collection[str], subject: str) -> None:
    """Raise UserError where names of tensors tell that a file is of another model, or is no plain LoRA."""
    if any(name.startswith(SECOND_ENCODER) for name in names):
        raise UserError(f"{subject} is a LoRA of a Stable Diffusion XL: give one of a 1.x.")
    if any(name.startswith(ENCODER) for name in names):
        raise UserError(
            f"{subject} also adapts the text encoder, which is frozen here: give a LoRA of the U-Net alone, as one "
            "trained without the text encoder is."
        )
    kind = next((kind for name in names for kind in OTHER_KINDS if kind in name), None)
    if kind is not None:
        raise UserError(f"{subject} is no plain LoRA but has tensors with {kind} in their names: give a plain one.")


def read_settings(metadata: Mapping[str, str], subject: str) -> set[float]:
    """The alpha in the metadata that diffusers writes, or nothing. Raises UserError for settings that are not
    implemented."""
    settings: dict[str, Any] = {}
    with suppress(ValueError):
        settings = json.loads(metadata.get(METADATA, "{}"))
    used = next((name for name in OTHER_SETTINGS if settings.get(f"{PREFIX}{name}")), None)
    if used is not None:
        raise UserError(f"{subject} was made with {used}, which is not implemented: give a plain LoRA.")
    alpha = settings.get(f"{PREFIX}lora_alpha")
    return set() if alpha is None else {float(alpha)}


def find_ends(layers: Collection[str], modules: Mapping[str, nn.Module]) -> list[str]:
    """The shortest ends of names that together name just these layers of a model."""
    ends = set()
    for layer in layers:
        parts = layer.split(".")
        for start in range(len(parts) - 1, -1, -1):
            end = ".".join(parts[start:])
            if all(name in layers for name in modules if f".{name}".endswith(f".{end}")):
                ends.add(end)
                break
    return sorted(ends)
