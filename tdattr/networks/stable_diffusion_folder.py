"""The folder of a Stable Diffusion 1.x as diffusers saves a pipeline: where its parts are, and what is no such folder.

Nothing here runs code that a file brings: weights are safetensors, and pickles are refused.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tdattr.errors import Unavailable, UserError
from tdattr.files import digest_once, expand
from tdattr.networks import clip_tokenizer
from tdattr.networks.diffusers_json import check_kinds, read_defaults, read_json
from tdattr.pretrained import find_folder, find_pickle

SETTING = "model.weights"
UNET = ("unet/config.json", "unet/diffusion_pytorch_model.safetensors")
ENCODER = ("text_encoder/config.json", "text_encoder/model.safetensors")
SCHEDULER = "scheduler/scheduler_config.json"
PARTS = (*UNET, *ENCODER, SCHEDULER)  # and a tokenizer
DESCRIPTIONS = (UNET[0], ENCODER[0])
TOKENIZER = "tokenizer"  # its folder; tokenizer_config.json there says how many tokens a prompt has
TOKENIZER_FILES = ("tokenizer_config.json",)  # that a pipeline's must have besides the tokenizer's own
VAE = ("vae/config.json", "vae/diffusion_pytorch_model.safetensors")  # which codec=vae reads
# what a user who fetches a pipeline by hand needs besides its parts
OTHERS = (*(f"{TOKENIZER}/{name}" for name in (*TOKENIZER_FILES, *clip_tokenizer.LAYOUTS[0])), *VAE)
MOST_TOKENS = 1 << 16  # more stand for a length that transformers does not know
# what tells the other families from Stable Diffusion 1.x, whose prompts have vectors of 768 numbers
SD2_WIDTH, SDXL_WIDTH = 1024, 2048
MORE_THAN_PROMPTS = ("class_embed_type", "encoder_hid_dim", "encoder_hid_dim_type", "time_cond_proj_dim")


def find_pipeline(weights: str) -> Path:
    """The folder of the pipeline: ``weights`` itself or, fetched where it must be, the hub repository of that id.

    Raises UserError for a folder that lacks a part, naming it, for pickles, and for another family of models.
    """
    path = expand(weights)
    if path.is_dir():
        refuse_others(path)
    elif path.is_file():
        raise UserError(
            f"{SETTING}={weights} is a single file: give the folder of a pipeline, which diffusers makes of it with "
            "StableDiffusionPipeline.from_single_file(…).save_pretrained(…)."
        )
    else:
        with suppress(Unavailable):  # which the next call explains whole
            check_configs(find_folder(weights, list(DESCRIPTIONS), SETTING, True))  # before gigabytes are fetched
    root = find_folder(weights, list(PARTS), SETTING, True, others=OTHERS)
    find_tokenizer(weights, SETTING)
    check_configs(root)
    return root


def refuse_others(root: Path) -> None:
    """Raise UserError where the folder is that of a Stable Diffusion XL, or has pickles in place of safetensors."""
    if (root / "text_encoder_2").exists():
        raise UserError(f"{root} has a text_encoder_2, as Stable Diffusion XL: give the folder of a 1.x in {SETTING}.")
    for name in (UNET[1], ENCODER[1]):
        file = root / name
        pickle = None if file.is_file() else find_pickle(file.parent)
        if pickle is not None:
            raise UserError(
                f"{pickle} is a pickle, which can run any program: save the pipeline again with diffusers' "
                f"save_pretrained, which writes {file.name}."
            )


def check_configs(root: Path) -> None:
    """Raise UserError where the descriptions of the U-Net and the text encoder are those of another family, or do not
    fit each other."""
    unet, encoder = read_unet(root), read_json(root / ENCODER[0])
    width, hidden = unet["cross_attention_dim"], encoder.get("hidden_size")
    if width == SDXL_WIDTH or unet["addition_embed_type"] is not None:
        raise UserError(f"{root / UNET[0]} is of a Stable Diffusion XL: give the folder of a 1.x in {SETTING}.")
    if width == SD2_WIDTH:
        raise UserError(
            f"{root / UNET[0]} has cross_attention_dim={width}, as Stable Diffusion 2: give the folder of a 1.x in "
            f"{SETTING}."
        )
    if width != hidden:
        raise UserError(
            f"The U-Net in {root} attends to vectors of {width} numbers but its text encoder makes some of {hidden}: "
            "one of the two is of another model."
        )
    more = next((key for key in MORE_THAN_PROMPTS if unet[key] is not None), None)
    if more is not None:
        raise UserError(f"{root / UNET[0]} has {more}={unet[more]}: a U-Net that is told more than a prompt.")
    if unet["in_channels"] != unet["out_channels"]:
        raise UserError(
            f"The U-Net in {root} takes {unet['in_channels']} and gives {unet['out_channels']} channels, as one for "
            "inpainting: give the folder of a text-to-image model."
        )


def read_unet(root: Path) -> dict[str, Any]:
    """The description of the U-Net, with diffusers' defaults for what it does not say. Raises UserError where it is
    none."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel  # takes seconds to import

    path = root / UNET[0]
    config = read_json(path)
    if config.get("_class_name") != UNet2DConditionModel.__name__:
        raise UserError(f"{path} is of the class {config.get('_class_name')}, not {UNet2DConditionModel.__name__}.")
    defaults = read_defaults(UNet2DConditionModel)
    check_kinds(path, config, defaults)
    return defaults | {key: value for key, value in config.items() if key in defaults}


def find_tokenizer(weights: str, setting: str) -> tuple[Path, tuple[str, ...]]:
    """The folder of the pipeline, and all files there that its tokenizer is read from. Raises UserError where one that
    it needs is missing.

    ``setting``: the config key by which another folder is given.
    """
    return clip_tokenizer.find_tokenizer(weights, setting, f"{TOKENIZER}/", TOKENIZER_FILES)


def identify_tokenizer(weights: str, setting: str) -> dict[str, str]:
    """What stands for the tokenizer of the pipeline in addresses. Raises UserError where a file is missing."""
    root, files = find_tokenizer(weights, setting)
    return clip_tokenizer.identify(weights, root, files, f"{TOKENIZER}/")


def digests(weights: str) -> Mapping[str, str]:
    """The digest of every file that what the network computes depends on."""
    root = find_pipeline(weights)
    return {name: digest_once(root / name) for name in (*UNET, *ENCODER)} | identify_tokenizer(weights, SETTING)


def load_tokenizer(root: Path) -> Any:
    """The tokenizer of the pipeline in a folder. Raises UserError where it cannot be read, or does not say how many
    tokens a prompt has."""
    folder = root / TOKENIZER
    tokenizer = clip_tokenizer.load_tokenizer(folder)
    if not 0 < tokenizer.model_max_length <= MOST_TOKENS:
        raise UserError(f"{folder / 'tokenizer_config.json'} does not say model_max_length: write 77 there.")
    return tokenizer
