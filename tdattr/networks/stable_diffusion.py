"""Stable Diffusion 1.x (Rombach et al. 2022, arXiv 2112.10752) as a network: its U-Net is trained, its text encoder is
frozen, and conditions are the token ids of prompts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from jaxtyping import Float, Shaped
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tdattr.errors import UserError
from tdattr.networks import NOTHING, Given, Network, NetworkConfig
from tdattr.networks.diffusers_scheduler import ADOPT, Scheduler, read_scheduler
from tdattr.networks.prompts import Prompts, load_encoder, open_prompts
from tdattr.networks.stable_diffusion_folder import (
    SCHEDULER,
    UNET,
    digests,
    find_pipeline,
    load_tokenizer,
    read_unet,
)
from tdattr.networks.weights import check_tensors

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from tdattr.diffusion import Diffusion

# ``mlp`` is that of the DiT: the weight matrices of the MLPs of the transformer blocks, no biases (MUCS §2.3).
# ``cross_attention``: what reads the prompt; ``cross_attention_kv``: its keys and values, in which AbU takes its step
# (arXiv 2406.09408, §4). ``block``: everything inside the down, middle and up blocks.
PARTS = {
    "mlp": ("unet.*.ff.net.*.weight",),
    "cross_attention": ("unet.*.attn2.*",),
    "cross_attention_kv": ("unet.*.attn2.to_[kv].weight",),
    "block": ("unet.down_blocks.*", "unet.mid_block.*", "unet.up_blocks.*"),
    "all": ("*",),
}
TOKENS = "+text@dataset.text=tokens"


@dataclass(frozen=True)
class StableDiffusionConfig(NetworkConfig):
    """The ``model=sd15`` node. ``weights``: the folder or hub id of a pipeline, from whose U-Net every training starts.

    ``f1``: ``trained`` from there, or the ``base`` itself. ``checkpoint_activations``: they are computed again on the
    way back instead of kept, which takes less memory, more time, and changes no result. ``augmentation_label``: must be
    false. ``clip``: the CLIP that its text encoder is of, which nothing here reads: ``text=clip_of_model`` does.
    """

    unaddressed: ClassVar = ("name", "c_noise", "weights", "clip", "f1", "checkpoint_activations")
    start: ClassVar = "from the base weights"
    remedy: ClassVar = "have the base trained on these items first, with model.f1=trained"
    has_base: ClassVar = True

    name: str
    weights: str
    clip: str
    f1: Literal["trained", "base"]
    checkpoint_activations: bool
    augmentation_label: bool
    c_noise: Literal["timestep"]

    @property
    def has_weights(self) -> bool:
        """Whether the base is F1."""
        return self.f1 == "base"

    def build(self, channels: int, resolution: int, condition: int) -> "StableDiffusion":
        """The network with random weights, which ``initialise`` replaces. Raises UserError where it does not fit x or
        the conditions are not token ids of its tokenizer."""
        root = find_pipeline(self.weights)
        config, prompts, tokens = read_unet(root), open_prompts(root), load_tokenizer(root).model_max_length
        if tokens != prompts.tokens:
            raise UserError(
                f"The tokenizer in {root} makes {tokens} tokens of a prompt but the text encoder takes "
                f"{prompts.tokens}: one of the two is of another model."
            )
        if self.augmentation_label:
            raise UserError(f"model={self.name} has no augmentation label: set train.augmentation.enabled=false.")
        if condition != tokens:
            has = f"conditions of {condition} numbers" if condition else "no conditions"
            raise UserError(f"model={self.name} is told prompts but the dataset has {has}: choose {TOKENS}.")
        if channels != config["in_channels"]:
            raise UserError(
                f"The U-Net in {self.weights} takes x of {config['in_channels']} channels, not {channels}: choose the "
                "codec that it was trained with, such as codec=vae."
            )
        return StableDiffusion(self.build_unet(root), prompts, self.checkpoint_activations)

    def build_unet(self, root: "Path") -> "UNet2DConditionModel":
        """The U-Net with random weights. Raises UserError where its description is none that diffusers can build."""
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel  # takes seconds to import

        try:
            return UNet2DConditionModel.from_config(read_unet(root))
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise UserError(f"{root / UNET[0]} describes no network that diffusers can build.") from error

    def count_parameters(self, channels: int, resolution: int, condition: int) -> int:
        """Those of the U-Net, whatever the sizes."""
        with torch.device("meta"):
            unet = self.build_unet(find_pipeline(self.weights))
        return sum(parameter.numel() for parameter in unet.parameters())

    def outline(self) -> "StableDiffusion":
        """The U-Net on the meta device."""
        root = find_pipeline(self.weights)
        with torch.device("meta"):
            return StableDiffusion(self.build_unet(root), open_prompts(root), self.checkpoint_activations)

    def initialise(self, network: Network) -> None:
        """Give the U-Net the pipeline's weights, with which every training starts. Raises UserError where the file
        holds those of another one."""
        assert isinstance(network, StableDiffusion)
        path = find_pipeline(self.weights) / UNET[1]
        self.check_shapes(path, network.unet)
        network.unet.load_state_dict(load_file(path))

    def pretrained(self, channels: int, resolution: int, condition: int) -> "StableDiffusion | None":
        """The base, where it is F1."""
        if not self.has_weights:
            return None
        network = self.build(channels, resolution, condition)
        self.initialise(network)
        return network

    def check_weights(self) -> None:
        """Raise UserError where the weights of the U-Net or the text encoder are damaged or of another one."""
        root = find_pipeline(self.weights)
        with torch.device("meta"):
            unet = self.build_unet(root)
        self.check_shapes(root / UNET[1], unet)
        check_tensors(root / UNET[1], str(root / UNET[1]))
        load_encoder(root)

    def check_shapes(self, path: "Path", unet: nn.Module) -> None:
        """Raise UserError where a file does not hold the tensors of that U-Net."""
        try:
            with safe_open(path, framework="pt") as file:
                shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except Exception as error:  # safetensors raises many
            raise UserError(f"{path} is not a readable safetensors file ({error}): fetch it again.") from error
        expected = {name: tuple(value.shape) for name, value in unet.state_dict().items()}
        wrong = sorted(name for name in shapes.keys() | expected.keys() if shapes.get(name) != expected.get(name))
        if wrong:
            raise UserError(f"{path} does not hold the weights of the network in its config.json: see {wrong[0]}.")

    def identity(self) -> Mapping[str, str]:
        """The digests of the files of the U-Net, the text encoder and the tokenizer."""
        return digests(self.weights)

    @property
    def tokenizer(self) -> str:
        """The pipeline's."""
        return self.weights

    @property
    def scheduler(self) -> Scheduler:
        """The pipeline's. Raises UserError where it is none of a network that was trained as a DDPM."""
        return read_scheduler(find_pipeline(self.weights) / SCHEDULER)

    def own_diffusion(self, sampler: str | None) -> dict[str, Any]:
        """What the pipeline's scheduler says of the training, and DPM-Solver++ or another ``sampler`` with what that
        has in common with it (GUDA-C takes DPM-Solver++, whichever scheduler is in the folder). Nothing is clipped, as
        x is a latent: diffusers' StableDiffusionPipeline switches ``clip_sample`` off where a file has it on, and its
        DPM-Solver++ thresholds nothing unless it is told to."""
        return self.scheduler.training() | self.scheduler.sampling(sampler or "dpm_solver") | {"clip": None}

    def check_diffusion(self, diffusion: "Diffusion") -> None:
        """Raise UserError where the folder is no Stable Diffusion 1.x, or the weights were trained under another
        variant."""
        scheduler = self.scheduler
        if diffusion.name != "ddpm" or not diffusion.tells_timesteps:
            raise UserError(f"model={self.name} was trained as a DDPM and is told timesteps: {ADOPT}.")
        scheduler.check_trained(diffusion)


class StableDiffusion(Network):
    """A ``UNet2DConditionModel`` as a ``Network``; c_noise is the timestep.

    Conditions are token ids, int32 [batch, tokens], or what ``embed_conditions`` made of them; what is dropped, and a
    call without a condition, gets those of the empty prompt. The text encoder in ``prompts`` is no part of the module.
    """

    parts: ClassVar = PARTS
    inner: ClassVar = "unet."
    conditional = True
    knows_augmentation = False
    null: Tensor

    def __init__(self, unet: "UNet2DConditionModel", prompts: Prompts, checkpoint_activations: bool) -> None:
        super().__init__()
        self.unet, self.prompts = unet, prompts
        self.register_buffer("null", prompts.null_ids(), persistent=False)
        self.recompute = Recompute()
        if checkpoint_activations:
            unet.enable_gradient_checkpointing(self.recompute)

    def forward(
        self,
        x: Float[Tensor, "batch channel height width"],
        c_noise: Float[Tensor, " batch"],
        given: Given = NOTHING,
    ) -> Float[Tensor, "batch channel height width"]:
        embedded = given.condition is not None and given.condition.is_floating_point()
        text = given.condition if embedded else self.embed_conditions(given, len(x)).condition
        if text is None or text.shape[1:] != (self.prompts.tokens, self.prompts.width):
            raise ValueError("the conditions of a Stable Diffusion must be token ids of its tokenizer")
        self.recompute.active = not embedded
        return self.unet(x, c_noise, encoder_hidden_states=text, return_dict=False)[0]

    def embed_conditions(self, given: Given, count: int) -> Given:
        """The same with the embeddings of the prompts, [item, tokens, width], also of those that are dropped."""
        ids: Shaped[Tensor, "batch tokens"] | None = given.with_null(self.null)
        ids = self.null.expand(count, -1) if ids is None else ids
        return Given(self.prompts.embed(ids))


class Recompute:
    """How diffusers' blocks are called whose activations are not kept. Not ``active`` where conditions come embedded:
    that is inside of ``torch.func``, which knows no such thing."""

    active = True

    def __call__(self, module: nn.Module, *inputs: Any) -> Any:
        return checkpoint(module, *inputs, use_reentrant=False) if self.active else module(*inputs)
