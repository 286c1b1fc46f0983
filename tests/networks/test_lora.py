"""LoRA: an adapter beside a frozen base, in the files that diffusers and kohya's scripts write."""

import copy
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from tdattr.errors import UserError
from tdattr.networks import Given
from tdattr.networks.frozen import share_base
from tdattr.networks.lora import METADATA, LoraConfig, adapt, adapter_metadata
from tdattr.networks.lora_file import read_lora
from tdattr.networks.stable_diffusion import StableDiffusion
from tdattr.networks.stable_diffusion_folder import UNET
from tdattr.scoring.gradients import GradientConfig, Gradients
from tdattr.scoring.pairs import NoiseSet
from tdattr.scoring.projection import ProjectionConfig
from tests.diffusion.fakes import variant
from tests.networks.tiny_network import SIZES, T, network_of, node
from tests.networks.tiny_pipeline import TOKENS, save_pipeline

ATTENTION = ["to_k", "to_q", "to_v", "to_out.0"]
LORA = LoraConfig(2, None, ATTENTION)
NOTHING = LoraConfig(None, None, ATTENTION)
FILE = "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("weights") / "sd")


def adapted(folder: Path, config: LoraConfig = LORA, seed: int = 0, trained: bool = False) -> StableDiffusion:
    network = network_of(folder)
    adapt(network, config, seed)
    if trained:
        rng = torch.Generator().manual_seed(1)
        network.load_weights({n: 0.3 * torch.randn(w.shape, generator=rng) for n, w in network.weights().items()})
    return network.eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def predict(network: torch.nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return network(x, T)


def theirs(folder: Path, lora: Path, x: Tensor) -> Tensor:
    """The prediction for the empty prompt of diffusers' pipeline that has loaded a LoRA."""
    pipeline = StableDiffusionPipeline(
        vae=None,
        text_encoder=CLIPTextModel.from_pretrained(str(folder / "text_encoder")).eval(),
        tokenizer=CLIPTokenizer.from_pretrained(str(folder / "tokenizer")),
        unet=UNet2DConditionModel.from_pretrained(str(folder / "unet")).eval(),
        scheduler=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.load_lora_weights(str(lora.parent), weight_name=lora.name)
    ids = pipeline.tokenizer([""], padding="max_length", max_length=TOKENS, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        text = pipeline.text_encoder(ids)[0].expand(len(x), -1, -1)
        return pipeline.unet(x, T, encoder_hidden_states=text).sample


def test_before_it_is_trained_it_changes_nothing_and_its_seed_alone_decides(folder: Path, x: Tensor) -> None:
    first, again, other = (adapted(folder, seed=seed) for seed in (3, 3, 4))
    network, before = network_of(folder), torch.random.get_rng_state()
    adapt(network, LORA)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(predict(first, x), predict(network_of(folder), x))
    for name, value in first.weights().items():
        assert torch.equal(value, again.weights()[name])
        assert torch.equal(value, other.weights()[name]) == ("lora_B" in name)  # which is zero
    assert not torch.allclose(predict(adapted(folder, trained=True), x), predict(first, x), atol=1e-3)


def test_the_base_is_no_parameter_and_is_not_stored(folder: Path, x: Tensor) -> None:
    network = adapted(folder, trained=True)
    base = load_file(folder / UNET[1])
    assert all(".lora_" in name for name, _ in network.named_parameters())
    assert network.weights().keys() == {re.sub(r"\.default", "", name) for name in network.state_dict()}
    assert all(re.fullmatch(r"unet\..*\.lora_[AB]\.weight", name) for name in network.weights())
    buffers = {name.replace(".base_layer", ""): value for name, value in network.named_buffers() if name != "null"}
    assert buffers.keys() == {f"unet.{name}" for name in base}
    assert all(torch.equal(buffers[f"unet.{name}"], value) for name, value in base.items())
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(predict(other, x), predict(network, x))
    share_base(network, other)
    assert [one.data_ptr() for one in other.buffers()] == [one.data_ptr() for one in network.buffers()]
    assert not {one.data_ptr() for one in other.parameters()} & {one.data_ptr() for one in network.parameters()}


def test_parts_are_those_of_the_weights_that_it_changes(folder: Path) -> None:
    network = adapted(folder)
    names = network.parameter_names("cross_attention_kv")
    assert len(names) == 2 * 2 * 4 and all(".attn2.to_" in name and ".lora_" in name for name in names)  # A, B; k, v
    assert network.parameter_names("all") == [name for name, _ in network.named_parameters()]
    with pytest.raises(UserError, match="leaves all of the part 'mlp' as it is.*such as all, or have it trained"):
        network.parameter_names("mlp")
    wider = adapted(folder, LoraConfig(2, None, ["to_k", "ff.net.2"]))
    assert all(".ff.net.2.lora_" in name for name in wider.parameter_names("mlp"))


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        ([], "train.lora.targets is empty"),
        (["to_k", "to_x"], "'to_x', which is in the name of no layer of the model"),
        (["attn1"], "'attn1', which is also a Attention"),
    ],
)
def test_layers_that_cannot_be_adapted(folder: Path, targets: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        adapt(node(folder).outline(), LoraConfig(2, None, targets))


def test_gradients_of_single_items_are_those_of_the_adapter(folder: Path, x: Tensor) -> None:
    network = adapted(folder, trained=True)
    ddpm = variant("ddpm", c_noise="timestep", **node(folder).own_diffusion(None))
    config = GradientConfig("loss", 2, "training", False, "all", ProjectionConfig("none", 8, 1))
    names = network.parameter_names(config.parameters)
    levels, noise = T[1:3], torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    ids = network.null.expand(4, -1)
    found = Gradients(network, ddpm, config, names, NoiseSet(levels, noise), 4).of(x, Given(ids))
    assert found.shape[1] == sum(value.numel() for value in network.parameters())
    for item in range(4):
        network.zero_grad()
        ddpm.loss(network, x[item].expand(2, 1, 8, 8), levels, noise, Given(ids[:2])).mean().backward()
        expected = torch.cat([network.get_parameter(name).grad.flatten() for name in names])
        torch.testing.assert_close(found[item], expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("config", [LORA, LoraConfig(3, 1.5, ["to_v", "ff.net.0.proj", "proj_in", "conv1"])])
def test_the_pipeline_of_diffusers_reads_what_is_stored(
    folder: Path, config: LoraConfig, x: Tensor, tmp_path: Path
) -> None:
    network = adapted(folder, config, trained=True)
    save_file(network.weights(), tmp_path / FILE, metadata={"other": "x"} | adapter_metadata(config))
    torch.testing.assert_close(predict(network, x), theirs(folder, tmp_path / FILE, x), atol=1e-6, rtol=1e-5)


def by_diffusers(weights: dict[str, Tensor], path: Path, alpha: float | None) -> None:
    """As its training script saves a LoRA; older versions wrote no metadata."""
    settings = {"r": 2, "lora_alpha": alpha, "target_modules": [*ATTENTION, "ff.net.2"]}
    StableDiffusionPipeline.save_lora_weights(
        path.parent,
        unet_lora_layers=convert_state_dict_to_diffusers({n.removeprefix("unet."): w for n, w in weights.items()}),
        unet_lora_adapter_metadata=None if alpha is None else settings,
        weight_name=path.name,
    )


def by_kohya(weights: dict[str, Tensor], path: Path, alpha: float | None) -> None:
    """As sd-scripts names a LoRA of a Stable Diffusion 1.x."""
    state: dict[str, Tensor] = {}
    for name, value in weights.items():
        layer, kind = re.fullmatch(r"unet\.(.*)\.lora_([AB])\.weight", name).groups()
        key = f"lora_unet_{layer.replace('.', '_')}"
        state[f"{key}.lora_{'down' if kind == 'A' else 'up'}.weight"] = value
        if alpha is not None:
            state[f"{key}.alpha"] = torch.tensor(alpha)
    save_file(state, path)


@pytest.mark.parametrize("alpha", [None, 1.0])
@pytest.mark.parametrize("save", [by_diffusers, by_kohya])
def test_files_of_others_are_read_as_diffusers_reads_them(
    folder: Path, x: Tensor, tmp_path: Path, save: Callable[..., None], alpha: float | None
) -> None:
    weights = adapted(folder, LoraConfig(2, alpha, [*ATTENTION, "ff.net.2"]), trained=True).weights()
    path = tmp_path / FILE
    save(weights, path, alpha)
    found = read_lora(path, node(folder).outline(), NOTHING, "checkpoint=x")
    assert (found.config.rank, found.config.alpha) == (2, alpha)
    network = network_of(folder)
    adapt(network, found.config)
    network.load_weights(found.weights)
    assert network.weights().keys() == weights.keys()
    torch.testing.assert_close(predict(network, x), theirs(folder, path, x), atol=1e-6, rtol=1e-5)


def test_a_layer_without_an_alpha_has_its_rank(folder: Path, tmp_path: Path) -> None:
    weights, path = adapted(folder, trained=True).weights(), tmp_path / FILE

    def read(alpha: float) -> float | None:
        by_kohya(weights, path, alpha)
        state = load_file(path)
        del state[next(name for name in state if name.endswith(".alpha"))]
        save_file(state, path)
        return read_lora(path, node(folder).outline(), NOTHING, "checkpoint=x").config.alpha

    assert read(2.0) == 2
    with pytest.raises(UserError, match=r"and the alphas \[1.0, 2.0\]: give a LoRA with one rank and one alpha"):
        read(1.0)


def test_the_layers_of_a_file_get_the_shortest_names(folder: Path, tmp_path: Path) -> None:
    layers = ["to_v", "ff.net.0.proj", "down_blocks.0.resnets.0.conv1"]
    save_file(adapted(folder, LoraConfig(2, None, layers)).weights(), tmp_path / FILE)
    found = read_lora(tmp_path / FILE, node(folder).outline(), NOTHING, "checkpoint=x").config.targets
    assert found == ["down_blocks.0.resnets.0.conv1", "proj", "to_v"]


LAYER = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


def without(weights: dict[str, Tensor], end: str) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if not name.endswith(end)}


WRONG = {  # what becomes of a good file's tensors, its metadata, and the sentence
    "SDXL": (lambda w: w | {"lora_te2_text_model.lora_down.weight": torch.ones(2, 2)}, {}, "of a Stable Diffusion XL"),
    "text encoder": (lambda w: w | {"text_encoder.q_proj.lora_A.weight": torch.ones(2, 2)}, {}, "adapts the text enc"),
    "another layer": (
        lambda w: w | {"unet.up_blocks.7.to_q.lora_A.weight": torch.ones(2, 2)},
        {},
        "of another model: 1 of its 33 layers are not in this one, such as unet.up_blocks.7.to_q",
    ),
    "another width": (
        lambda w: w | {f"{LAYER}.lora_A.weight": torch.ones(2, 1024)},
        {},
        r"of another model.*1 tensors do not fit.*\(file \(2, 1024\), model \(2, 16\)\)",
    ),
    "half a layer": (lambda w: without(w, f"{LAYER}.lora_B.weight"), {}, r"file None, model \(16, 2\)"),
    "ranks": (
        lambda w: w | {f"{LAYER}.lora_A.weight": torch.ones(3, 16), f"{LAYER}.lora_B.weight": torch.ones(16, 3)},
        {},
        r"layers of the ranks \[2, 3\].*one rank",
    ),
    "DoRA": (lambda w: w | {f"{LAYER}.lora_magnitude_vector": torch.ones(16)}, {}, "no plain LoRA but has tensors"),
    "another kind": (lambda w: {"lora_unet_x.hada_w1_a": torch.ones(2, 2)}, {}, "no plain LoRA but has tensors"),
    "its scale": (lambda w: w, {"unet.use_rslora": True}, "made with use_rslora, which is not implemented"),
    "not finite": (lambda w: w | {f"{LAYER}.lora_A.weight": torch.full((2, 16), torch.nan)}, {}, "32 of 32 numbers"),
    "without unet": (lambda w: {n.removeprefix("unet."): v for n, v in w.items()}, {}, "no part of a LoRA of a U-Net"),
    "SDXL's U-Net": (
        lambda w: {f"lora_unet_input_blocks_4_1_attn1_to_q.lora_{k}.weight": torch.ones(2, 2) for k in ("down", "up")},
        {},
        "of another model: 1 of its 1 layers",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_lora_of_another_model_or_kind_is_refused(folder: Path, tmp_path: Path, case: str) -> None:
    change, metadata, sentence = WRONG[case]
    save_file(change(adapted(folder).weights()), tmp_path / FILE, metadata={METADATA: json.dumps(metadata)})
    with pytest.raises(UserError, match=f"^checkpoint=x .*{sentence}"):
        read_lora(tmp_path / FILE, node(folder).outline(), NOTHING, "checkpoint=x")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (LoraConfig(4, None, ATTENTION), "of the rank 2 and the alpha 2, not of train.lora.rank=4 and the alpha 4"),
        (LoraConfig(2, 1.0, ATTENTION), "of the rank 2 and the alpha 2, not of train.lora.rank=2 and the alpha 1"),
        (LoraConfig(2, None, ["to_k"]), r"of other layers than train.lora.targets: 48 tensors .*model None"),
    ],
)
def test_settings_that_are_not_the_files_are_refused(
    folder: Path, tmp_path: Path, given: LoraConfig, sentence: str
) -> None:
    save_file(adapted(folder).weights(), tmp_path / FILE, metadata=adapter_metadata(LORA))
    assert read_lora(tmp_path / FILE, node(folder).outline(), LORA, "checkpoint=x").config == LORA
    with pytest.raises(UserError, match=sentence):
        read_lora(tmp_path / FILE, node(folder).outline(), given, "checkpoint=x")


def test_sizes_of_the_adapter(folder: Path) -> None:
    """A tensor of A and one of B for each of four projections of two attentions in four transformer blocks."""
    shapes = [tuple(value.shape) for value in adapted(folder).weights().values()]
    assert len(shapes) == 2 * 4 * 2 * 4 and all(2 in shape for shape in shapes)
    outline = node(folder).outline()
    adapt(outline, LORA)
    assert [tuple(value.shape) for value in outline.state_dict().values()] == shapes
    assert all(value.is_meta for value in outline.parameters())
    with torch.device("meta"):
        blank = node(folder).build(*SIZES)
        adapt(blank, LORA)
    assert [tuple(value.shape) for value in blank.parameters()] == shapes
