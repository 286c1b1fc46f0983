"""A model saved by diffusers as a network: its architecture is used for retrains, its weights are F1."""

from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tdattr.errors import UserError
from tdattr.files import digest_once, expand
from tdattr.networks import NetworkConfig
from tdattr.networks.diffusers_json import check_kinds, read_defaults, read_json
from tdattr.networks.diffusers_scheduler import ADOPT, Scheduler, read_scheduler
from tdattr.networks.diffusers_unet import DiffusersUNet, check_timesteps
from tdattr.networks.weights import load_saved

if TYPE_CHECKING:
    from tdattr.diffusion import Diffusion

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
PICKLE = "diffusion_pytorch_model.bin"
SCHEDULERS = ("scheduler_config.json", "scheduler/scheduler_config.json", "../scheduler/scheduler_config.json")
PROJECTIONS = ("projection", "simple_projection")  # embeddings of vectors, not of numbers of classes
REFUSED = {"center_input_sample": (False, None), "time_cond_proj_dim": (None,)}  # but with these values


@dataclass(frozen=True)
class DiffusersConfig(NetworkConfig):
    """The ``model=diffusers`` node. ``path``: the folder of a model, or of a pipeline with a folder ``unet``.

    The model must have been trained as a DDPM and be either a ``UNet2DModel`` or a ``UNet2DConditionModel`` that sees a
    class and no text. Its labels are the dataset's classes, in their order, with or without a last one for none.
    ``augmentation_label``: must be false.
    """

    unaddressed: ClassVar = ("name", "c_noise", "path")
    remedy: ClassVar = "give model.path a model that was trained on such images"

    name: str
    path: str | None
    augmentation_label: bool
    c_noise: Literal["timestep"]

    @property
    def has_weights(self) -> bool:
        """They are F1."""
        return True

    def build(self, channels: int, resolution: int, condition: int) -> DiffusersUNet:
        """A fresh network of that architecture. Raises UserError where it does not fit the images or conditions."""
        config = self.read_config(channels, resolution, condition)
        try:
            unet = model_class(config).from_config(config)
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise UserError(f"{self.folder / CONFIG} describes no network that diffusers can build.") from error
        return DiffusersUNet(unet, augmentation_label=False, has_null=count_labels(config) != condition)

    def pretrained(self, channels: int, resolution: int, condition: int) -> DiffusersUNet:
        """The network with the folder's weights. Raises UserError where they are missing, not finite or of another
        network."""
        config = self.read_config(channels, resolution, condition)
        if (self.folder / CONFIG).read_bytes().startswith(BOM_UTF8):
            raise UserError(
                f"{self.folder / CONFIG} begins with a byte order mark, which diffusers cannot read: save it as UTF-8 "
                "without one."
            )
        unet = load_saved(model_class(config), self.weights, "network")
        return DiffusersUNet(unet, augmentation_label=False, has_null=count_labels(config) != condition)

    def identity(self) -> Mapping[str, str]:
        """What the network depends on besides the node's own values: the digests of both files."""
        return {"config": digest_once(self.folder / CONFIG), "weights": digest_once(self.weights)}

    def own_diffusion(self, sampler: str | None) -> dict[str, Any]:
        """What the folder's scheduler says, as settings of ``diffusion=ddpm``. Raises UserError where there is none, or
        it says what is not implemented."""
        scheduler = self.scheduler
        if scheduler is None:
            raise UserError(
                f"{self.folder} has no scheduler_config.json that diffusion=diffusers could adopt: choose "
                "diffusion=ddpm with the settings of the checkpoint's training."
            )
        return scheduler.training() | scheduler.sampling(sampler)

    def check_diffusion(self, diffusion: "Diffusion") -> None:
        """Raise UserError where the weights cannot generate under this variant: they were trained as a DDPM, by the
        settings of the folder's scheduler, where there is one."""
        check_timesteps(self.name, diffusion)
        if diffusion.name != "ddpm":
            raise UserError(f"A diffusers checkpoint was trained as a DDPM: {ADOPT}, or set diffusion=ddpm.")
        if self.scheduler is not None:
            self.scheduler.check_trained(diffusion)

    @property
    def folder(self) -> Path:
        """The folder of the model. Raises UserError where there is none."""
        if self.path is None:
            raise UserError("model=diffusers needs the folder of a diffusers model: set model.path.")
        root = expand(self.path)
        for folder in (root, root / "unet"):
            if (folder / CONFIG).is_file():
                return folder
        missing = f"has no {CONFIG}, nor has a folder unet in it" if root.is_dir() else "does not exist"
        missing = "is a file" if root.is_file() else missing
        raise UserError(f"{root} {missing}: set model.path to a folder that diffusers has saved.")

    @property
    def weights(self) -> Path:
        """The file with the weights. Raises UserError where it is missing or a pickle."""
        path = self.folder / WEIGHTS
        if path.is_file():
            return path
        if (self.folder / PICKLE).is_file():
            raise UserError(
                f"{self.folder / PICKLE} is a pickle, which can run any program: save the model again with diffusers' "
                f"save_pretrained, which writes {WEIGHTS}."
            )
        raise UserError(f"{self.folder} has no {WEIGHTS}: set model.path to a folder that diffusers has saved.")

    def read_config(self, channels: int, resolution: int, condition: int) -> dict[str, Any]:
        """The folder's description of the network. Raises UserError where it does not fit."""
        config = read_json(self.folder / CONFIG)
        defaults = read_defaults(model_class(config))
        check_kinds(self.folder / CONFIG, config, defaults)
        unknown = sorted(key for key in config if key not in defaults and not key.startswith("_"))
        if unknown:
            raise UserError(f"{self.folder / CONFIG} has {unknown[0]}, which diffusers does not read: correct it.")
        size = config.get("sample_size")
        sizes = size if isinstance(size, list) else [size, size]
        inputs, outputs = config.get("in_channels", 3), config.get("out_channels", 3)
        if self.augmentation_label:
            raise UserError("A diffusers checkpoint has no augmentation label: set train.augmentation.enabled=false.")
        if any(side not in (None, resolution) for side in sizes):
            raise UserError(
                f"The checkpoint in model.path is for images of {size} pixels but the dataset's have {resolution}."
            )
        if (inputs, outputs) != (channels, channels):
            raise UserError(
                f"The checkpoint in model.path takes {inputs} and gives {outputs} channels but the dataset's images "
                f"have {channels}."
            )
        if config.get("time_embedding_type", "positional") != "positional":
            raise UserError(
                f"The checkpoint in model.path has a {config['time_embedding_type']} time embedding, but only "
                "positional ones are supported."
            )
        for key, allowed in REFUSED.items():
            if config.get(key) not in allowed:
                raise UserError(f"{self.folder / CONFIG} has {key}={config[key]}, which is not supported.")
        self.check_labels(config, condition)
        return config

    def check_labels(self, config: dict[str, Any], condition: int) -> None:
        """Raises UserError where the network needs anything but a label for each condition, and maybe one for none."""
        kind, labels = config.get("class_embed_type"), count_labels(config)
        if kind not in (None, *PROJECTIONS):
            raise UserError(f"The checkpoint in model.path has the class embedding {kind}, which is not supported.")
        if config["_class_name"] == "UNet2DConditionModel" and (labels is None or reads_text(config)):
            raise UserError("The checkpoint in model.path is conditioned on more than a class, which is not supported.")
        if labels is not None and (not condition or labels not in (condition, condition + 1)):
            raise UserError(
                f"The checkpoint in model.path has {labels} labels but the dataset {condition} conditions: it must "
                "have one for each of them, in their order, and may have a last one for none."
            )

    @property
    def scheduler(self) -> Scheduler | None:
        """The folder's scheduler; None where it has none. Raises UserError where it cannot be read."""
        paths = [self.folder / name for name in SCHEDULERS[:2]]
        if self.folder.name == "unet":
            paths.append(self.folder / SCHEDULERS[2])
        path = next((path for path in paths if path.is_file()), None)
        return None if path is None else read_scheduler(path.resolve())


def model_class(config: dict[str, Any]) -> Any:
    """The class of diffusers that the description names. Raises UserError for one that is not supported."""
    from diffusers.models.unets.unet_2d import UNet2DModel  # takes seconds to import
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    classes = {cls.__name__: cls for cls in (UNet2DModel, UNet2DConditionModel)}
    name = config.get("_class_name")
    if name not in classes:
        raise UserError(f"The checkpoint in model.path is of the class {name}: choose a {' or a '.join(classes)}.")
    return classes[name]


def count_labels(config: dict[str, Any]) -> int | None:
    """How many labels the network knows; None where it sees none."""
    projected = config.get("class_embed_type") in PROJECTIONS
    labels: int | None = config.get("projection_class_embeddings_input_dim" if projected else "num_class_embeds")
    return labels


def reads_text(config: dict[str, Any]) -> bool:
    """Whether a ``UNet2DConditionModel`` needs more than images, timesteps and classes.

    The default middle attends to a text or, where there is none and the widths agree, to itself.
    """
    extras = ("addition_embed_type", "encoder_hid_dim", "encoder_hid_dim_type", "class_embeddings_concat")
    blocks = [*config.get("down_block_types", ["CrossAttn"]), *config.get("up_block_types", ["CrossAttn"])]
    widths = config.get("block_out_channels", [0])
    middle = config.get("mid_block_type", "UNetMidBlock2DCrossAttn")
    itself = middle in (None, "UNetMidBlock2D") or config.get("cross_attention_dim") == widths[-1]
    return any(config.get(key) for key in extras) or any("CrossAttn" in block for block in blocks) or not itself
