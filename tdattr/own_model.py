"""A folder of pictures and a model, as people have them on their disks, said in overrides."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.errors import HydraException

from tdattr.errors import UserError
from tdattr.files import expand
from tdattr.overrides import parse, quote
from tdattr.search_path import CONF

SAFETENSORS = ".safetensors"
INDEX = "model_index.json"  # of a pipeline that diffusers has saved
CONFIG = "config.json"
CAPTIONS = ("captions.csv", "captions.json")  # sought in a folder of pictures
OTHER_PARTS = {  # folders of pipelines that have no U-Net which can be attributed
    "transformer": "a diffusion transformer of diffusers",
    "text_encoder_2": "a Stable Diffusion XL",
    "vqvae": "a model of the latents of a VQ-VAE",
    "movq": "a model of the latents of a MoVQ",
    "prior": "a prior of a pipeline of several models",
}
KNOWN = "a .safetensors file, a U-Net that diffusers has saved, or a pipeline of a Stable Diffusion 1.x"


def overrides_for(data: Path | None, model: Path | None) -> list[str]:
    """The overrides of ``tdattr`` that stand for a folder of pictures and for a model: the file of its weights, a
    folder that diffusers has saved, or a LoRA of Stable Diffusion. What one says of the other is among them: the
    resolution, the number of channels, whether sub-folders are conditions.

    Raises UserError, in one sentence, where there is nothing of the kind. Weights are not read.
    """
    folder = None if data is None else expand(data)
    if folder is not None and not folder.is_dir():
        what = "is a file" if folder.is_file() else "does not exist"
        raise UserError(f"--data={folder} {what}: give the folder that holds the pictures.")
    given = [] if folder is None else ["dataset=image_folder", write("dataset.source.root", folder)]
    return given if model is None else [*given, *describe_model(expand(model), folder)]


def describe_model(path: Path, data: Path | None) -> list[str]:
    """The overrides for a model. ``data``: the folder of pictures; None: another dataset."""
    if path.is_file():
        return describe_file(path, data)
    if not path.is_dir():
        raise UserError(
            f"--model={path} does not exist: give {KNOWN}; a pipeline of the hub is model=sd15 model.weights=ID."
        )
    root = path.parent if path.name == "unet" and (path.parent / "text_encoder").is_dir() else path
    if (other := next((name for name in OTHER_PARTS if (root / name).is_dir()), None)) is not None:
        raise UserError(f"--model={path} is {OTHER_PARTS[other]}, which is not supported: give {KNOWN}.")
    if (root / "text_encoder").is_dir():
        return describe_stable_diffusion(root, data)
    if any((root / name).is_file() for name in (CONFIG, f"unet/{CONFIG}")):
        return describe_unet(root, data)
    files = sorted(root.glob(f"*{SAFETENSORS}"))
    if len(files) == 1:
        return describe_file(files[0], data)
    if files:
        names = ", ".join(file.name for file in files)
        raise UserError(f"--model={path} holds {len(files)} files of weights, {names}: give one of them.")
    raise UserError(f"--model={path} holds no {CONFIG}, no folder unet and no {SAFETENSORS} file: give {KNOWN}.")


def describe_file(path: Path, data: Path | None) -> list[str]:
    """The overrides for a file of weights."""
    if (path.parent / CONFIG).is_file() and path.stem == "diffusion_pytorch_model":
        return describe_model(path.parent, data)
    if path.name in (INDEX, CONFIG):
        return describe_model(path.parent, data)
    from tdattr.networks.lora_file import holds_lora  # with torch, after what needs none
    from tdattr.training.weights import TRAINED_FOR, guess_kind, read_header

    names, metadata = read_header(path, "--model")
    if holds_lora(names):
        base = ["model=sd15", "codec=vae", "diffusion=diffusers", "+text@dataset.text=tokens"]
        return [*base, *find_captions(data), write("checkpoint", path)]
    if (kind := guess_kind(names)) is not None:
        raise UserError(f"--model={path} seems to be {kind}: give {KNOWN}.")
    return [write("checkpoint", path), *name_variant(metadata.get(TRAINED_FOR, "{}"))]


def name_variant(said: str) -> list[str]:
    """The choice of the diffusion variant that a training has noted in the metadata of its weights; nothing where it
    has noted none that there is."""
    try:
        name = json.loads(said).get("name")
    except (ValueError, AttributeError):
        return []
    return [f"diffusion={name}"] if isinstance(name, str) and (CONF / "diffusion" / f"{name}.yaml").is_file() else []


def describe_stable_diffusion(root: Path, data: Path | None) -> list[str]:
    """The overrides for a pipeline whose U-Net reads prompts, which is F1 as it is."""
    overrides = ["model=sd15", write("model.weights", root), "model.f1=base", "diffusion=diffusers"]
    overrides += ["+text@dataset.text=tokens", *name_codec(root)]
    return [*overrides, *fit_images(root, data), *find_captions(data)]


def describe_unet(root: Path, data: Path | None) -> list[str]:
    """The overrides for a U-Net that sees no text, alone or in a pipeline."""
    from tdattr.networks.diffusers_checkpoint import SCHEDULERS, count_labels, reads_text
    from tdattr.networks.diffusers_scheduler import SAMPLERS

    folder = root if (root / CONFIG).is_file() else root / "unet"
    config = read_object(folder / CONFIG)
    if config.get("_class_name") == "UNet2DConditionModel" and (count_labels(config) is None or reads_text(config)):
        raise UserError(
            f"--model={root} is a U-Net that reads more than a class: give the whole pipeline, with its text encoder."
        )
    places = SCHEDULERS if folder.name == "unet" else SCHEDULERS[:2]
    scheduler = next((path for path in (folder / name for name in places) if path.is_file()), None)
    overrides = ["model=diffusers", write("model.path", root)]
    overrides += ["diffusion=ddpm"] if scheduler is None else ["diffusion=diffusers"]
    if scheduler is not None and read_object(scheduler).get("_class_name") not in SAMPLERS:
        overrides.append("diffusion.sampler=ddim")
    codec = name_codec(root)
    overrides += [*codec, write("codec.weights", root), "diffusion.clip=null"] if codec else []
    overrides += fit_images(root, data)
    return overrides if data is None else [*overrides, *fit_conditions(root, count_labels(config), data)]


def name_codec(root: Path) -> list[str]:
    """The choice of the codec of a pipeline that has a VAE."""
    return ["codec=vae"] if (root / "vae" / CONFIG).is_file() else []


def fit_images(root: Path, data: Path | None) -> list[str]:
    """The size and the channels of the images that a U-Net, with the VAE beside it, was made for."""
    if data is None:
        return []
    unet = read_object(next(path for path in (root / CONFIG, root / "unet" / CONFIG) if path.is_file()))
    side, channels = unet.get("sample_size"), unet.get("in_channels")
    if isinstance(side, list) and len(set(side)) == 1:
        side = side[0]
    if name_codec(root):
        vae = read_object(root / "vae" / CONFIG)
        levels, channels = vae.get("block_out_channels"), vae.get("in_channels")
        side = side * 2 ** (len(levels) - 1) if isinstance(side, int) and isinstance(levels, list) else None
    found = {"resolution": side, "channels": channels if channels in (1, 3) else None}
    return [f"dataset.source.{key}={value}" for key, value in found.items() if type(value) is int]


def fit_conditions(root: Path, labels: int | None, data: Path) -> list[str]:
    """Whether the sub-folders are what the network is told, and whether it can be told nothing. Raises UserError where
    it has other labels."""
    if labels is None:
        return []
    groups = count_groups(data)
    if labels not in (groups, groups + 1):
        raise UserError(
            f"--model={root} has {labels} labels but --data={data} {groups} sub-folders of pictures: there must be one "
            "for each label, in the order of their names, but for a last label that may stand for none."
        )
    without = [] if labels == groups + 1 else ["train.condition_dropout=0", "queries.guidance=null"]
    return ["dataset.source.condition=group", *without]


def count_groups(data: Path) -> int:
    """The number of groups of a folder of pictures."""
    from tdattr.data.listing import list_folder

    return len(list_folder(data).groups)


def find_captions(data: Path | None) -> list[str]:
    """The file of captions in a folder of pictures, where there is one."""
    found: Iterator[str] = (name for name in CAPTIONS if data is not None and (data / name).is_file())
    return [f"dataset.source.captions={name}" for name in list(found)[:1]]


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError where the file holds none."""
    from tdattr.networks.diffusers_json import read_json  # with torch

    return read_json(path)


def write(key: str, value: Path) -> str:
    """An override whose value is a path, in quotes where Hydra would read it as something else."""
    plain = f"{key}={value}"
    try:
        same = parse(plain).value() == str(value)
    except HydraException:
        same = False
    return plain if same else quote(key, str(value))
