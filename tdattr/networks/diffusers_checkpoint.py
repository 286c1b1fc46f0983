"""A model saved by diffusers as a network: its architecture is used for retrains, its weights are F1."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch

from tdattr.errors import UserError
from tdattr.files import digest_once
from tdattr.networks import NetworkConfig
from tdattr.networks.diffusers_unet import DiffusersUNet, check_timesteps
from tdattr.networks.weights import check_tensors
from tdattr.tables import read_json

if TYPE_CHECKING:
    from tdattr.diffusion import Diffusion

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
PICKLE = "diffusion_pytorch_model.bin"
SCHEDULERS = ("scheduler_config.json", "scheduler/scheduler_config.json", "../scheduler/scheduler_config.json")
# diffusers' name and ours
SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}


@dataclass(frozen=True)
class DiffusersConfig(NetworkConfig):
    """The ``model=diffusers`` node. ``path``: the folder of a model, or of a pipeline with a folder ``unet``.

    The model must predict the noise (``diffusion=ddpm``) and be either a ``UNet2DModel`` or a ``UNet2DConditionModel``
    that sees a class and no text. ``augmentation_label``: must be false.
    """

    unaddressed: ClassVar = ("name", "c_noise", "path")
    has_weights: ClassVar = True

    name: str
    path: str | None
    augmentation_label: bool
    c_noise: Literal["timestep"]

    def build(self, channels: int, resolution: int, condition: int) -> DiffusersUNet:
        """A fresh network of that architecture. Raises UserError where it does not fit the images or conditions."""
        config = self.read_config(channels, resolution, condition)
        try:
            unet = model_class(config).from_config(config)
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise UserError(f"{self.folder / CONFIG} describes no network that diffusers can build.") from error
        return DiffusersUNet(unet, augmentation_label=False)

    def pretrained(self, channels: int, resolution: int, condition: int) -> DiffusersUNet:
        """The network with the folder's weights. Raises UserError where they are missing, not finite or of another
        network."""
        config = self.read_config(channels, resolution, condition)
        try:
            check_tensors(self.weights, str(self.weights))
            unet, loading = model_class(config).from_pretrained(
                str(self.weights.parent),
                use_safetensors=True,
                local_files_only=True,
                low_cpu_mem_usage=False,
                torch_dtype=torch.float32,
                output_loading_info=True,
            )
        except UserError:
            raise
        except Exception as error:  # diffusers, safetensors and torch raise many
            raise UserError(f"{self.weights} does not hold the weights of the network in its {CONFIG}.") from error
        wrong = [*loading["missing_keys"], *loading["unexpected_keys"], *loading["mismatched_keys"]]
        if wrong:
            raise UserError(f"{self.weights} does not hold the weights of the network in its {CONFIG}: see {wrong[0]}.")
        return DiffusersUNet(unet, augmentation_label=False)

    def identity(self) -> Mapping[str, str]:
        """What the network depends on besides the node's own values: the digests of both files."""
        return {"config": digest_once(self.folder / CONFIG), "weights": digest_once(self.weights)}

    def check_diffusion(self, diffusion: "Diffusion") -> None:
        """Raise UserError where the weights cannot generate under this variant: they predict the noise of a DDPM.

        Its timesteps are checked against those of the folder's scheduler, where there is one.
        """
        check_timesteps(self.name, diffusion)
        expected = {"name": "ddpm"} | self.trained_timesteps()
        values = asdict(diffusion)  # type: ignore[call-overload]
        if any(values.get(key) != value for key, value in expected.items()):
            overrides = [f"diffusion.{key}={value}" for key, value in expected.items() if key != "name"]
            raise UserError(
                "A diffusers checkpoint works with the timesteps that it was trained with: set "
                f"{' '.join(['diffusion=ddpm', *overrides])}."
            )

    @property
    def folder(self) -> Path:
        """The folder of the model. Raises UserError where there is none."""
        if self.path is None:
            raise UserError("model=diffusers needs the folder of a diffusers model: set model.path.")
        root = Path(self.path).expanduser()
        for folder in (root, root / "unet"):
            if (folder / CONFIG).is_file():
                return folder
        missing = f"has no {CONFIG}, nor has a folder unet in it" if root.is_dir() else "does not exist"
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
        config = read(self.folder / CONFIG)
        model_class(config)
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
        self.check_labels(config, condition)
        return config

    def check_labels(self, config: dict[str, Any], condition: int) -> None:
        """Raises UserError where the network needs anything but a label for each condition and one for none."""
        kind, labels = config.get("class_embed_type"), config.get("num_class_embeds")
        if kind in ("projection", "simple_projection"):
            labels = config.get("projection_class_embeddings_input_dim")
        elif kind is not None:
            raise UserError(f"The checkpoint in model.path has the class embedding {kind}, which is not supported.")
        if config["_class_name"] == "UNet2DConditionModel" and (labels is None or reads_text(config)):
            raise UserError("The checkpoint in model.path is conditioned on more than a class, which is not supported.")
        if labels is not None and labels != condition + 1:
            raise UserError(
                f"The checkpoint in model.path has {labels} labels but must have {condition + 1}: one for each of the "
                f"dataset's {condition} conditions and a last one for none."
            )

    def trained_timesteps(self) -> dict[str, Any]:
        """What the folder's scheduler says of the training, as settings of ``diffusion=ddpm``; empty without one.

        Raises UserError where it is none of the supported ones.
        """
        paths = [self.folder / name for name in SCHEDULERS[:2]]
        if self.folder.name == "unet":
            paths.append(self.folder / SCHEDULERS[2])
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            return {}
        scheduler = read(path)
        schedule, prediction = scheduler.get("beta_schedule", "linear"), scheduler.get("prediction_type", "epsilon")
        if prediction != "epsilon":
            raise UserError(f"The checkpoint in model.path predicts {prediction}, but only epsilon is supported.")
        if schedule not in SCHEDULES or scheduler.get("trained_betas") is not None:
            raise UserError(
                f"The checkpoint in model.path was trained with the schedule {schedule}, but only "
                f"{', '.join(SCHEDULES)} without betas of its own are supported."
            )
        settings = {"timesteps": scheduler.get("num_train_timesteps", 1000), "schedule": SCHEDULES[schedule]}
        if schedule == "squaredcos_cap_v2":
            return settings
        return settings | {
            "beta_start": scheduler.get("beta_start", 0.0001),
            "beta_end": scheduler.get("beta_end", 0.02),
        }


def model_class(config: dict[str, Any]) -> Any:
    """The class of diffusers that the description names. Raises UserError for one that is not supported."""
    from diffusers.models.unets.unet_2d import UNet2DModel  # takes seconds to import
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    classes = {cls.__name__: cls for cls in (UNet2DModel, UNet2DConditionModel)}
    name = config.get("_class_name")
    if name not in classes:
        raise UserError(f"The checkpoint in model.path is of the class {name}: choose a {' or a '.join(classes)}.")
    return classes[name]


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


def read(path: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError where the file holds none."""
    content = read_json(path, "save the model again with diffusers' save_pretrained")
    if not isinstance(content, dict):
        raise UserError(f"{path} is no JSON object: save the model again with diffusers' save_pretrained.")
    return content
