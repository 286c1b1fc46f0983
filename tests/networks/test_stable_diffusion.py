"""Stable Diffusion as a network: diffusers' own predictions and samples, a frozen text encoder, and base weights."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from tdattr.diffusion.batch import Batch
from tdattr.diffusion.ddpm import DDPM
from tdattr.metagradients.backward import begin_at_end
from tdattr.metagradients.state import outline
from tdattr.metagradients.step import Step
from tdattr.networks import Given
from tdattr.networks.stable_diffusion import StableDiffusion
from tdattr.networks.stable_diffusion_folder import UNET
from tdattr.scoring.cells import BatchItems
from tdattr.scoring.fisher import sum_squares
from tdattr.scoring.gradients import GradientConfig, Gradients
from tdattr.scoring.pairs import NoiseSet
from tdattr.scoring.projection import ProjectionConfig
from tdattr.seeding import generator, normal
from tdattr.training.config import TrainConfig
from tests.diffusion.fakes import rngs, variant
from tests.networks.tiny_network import SIZES, T, network_of, node
from tests.networks.tiny_pipeline import TOKENS, WIDTH, save_pipeline
from tests.parity.golden import golden

PROMPTS = ["a bold serif letter a", "the digit 7", "", "the digit 7"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("weights") / "sd")


@pytest.fixture
def network(folder: Path) -> StableDiffusion:
    return network_of(folder)


@pytest.fixture(scope="module")
def ids(folder: Path) -> Tensor:
    tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))
    padded = tokenizer(PROMPTS, padding="max_length", max_length=TOKENS, truncation=True)["input_ids"]
    return torch.tensor(padded, dtype=torch.int32)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def ddpm(folder: Path) -> DDPM:
    """What ``diffusion=diffusers`` makes of the pipeline's scheduler."""
    made = variant("ddpm", c_noise="timestep", **node(folder).own_diffusion(None))
    assert isinstance(made, DDPM)
    return made


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Callable[..., Tensor]:
    """diffusers' predictions, by a U-Net and a text encoder that were loaded by themselves."""
    unet = UNet2DConditionModel.from_pretrained(str(folder / "unet"), low_cpu_mem_usage=False).eval()
    encoder = CLIPTextModel.from_pretrained(str(folder / "text_encoder")).eval()

    def predict(x: Tensor, ids: Tensor, t: Tensor = T) -> Tensor:
        with torch.no_grad():
            return unet(x, t, encoder_hidden_states=encoder(ids.long())[0]).sample

    return predict


def test_predictions_are_those_of_diffusers(
    theirs: Callable[..., Tensor], network: StableDiffusion, ids: Tensor, x: Tensor
) -> None:
    with torch.no_grad():
        found = network(x, T, Given(ids))
    torch.testing.assert_close(found, theirs(x, ids), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(found, theirs(x, ids.flip(0)), atol=1e-4)  # the prompts matter


def test_what_is_dropped_has_the_empty_prompt(
    theirs: Callable[..., Tensor], network: StableDiffusion, ids: Tensor, x: Tensor
) -> None:
    empty = ids[2].expand(4, -1)
    with torch.no_grad():
        some = network(x, T, Given(ids, torch.tensor([True, False, False, True])))
        none = network(x, T)
    torch.testing.assert_close(some, theirs(x, torch.stack([ids[2], ids[1], ids[2], ids[2]])))
    torch.testing.assert_close(none, theirs(x, empty))


def test_each_distinct_prompt_is_embedded_once_and_alone(
    network: StableDiffusion, ids: Tensor, x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    encoder, prompts = network.prompts.load(), network.prompts
    prompts.known.clear()
    monkeypatch.setattr(prompts, "model", Counted(encoder, asked))
    with torch.inference_mode():  # first for scores, then for a training
        network(x, T, Given(ids))
        network(x, T, Given(ids.repeat_interleave(2, 0)[:4]))
    assert asked == [1, 1, 1]
    network(x, T, Given(ids)).sum().backward()
    assert asked == [1, 1, 1] and network.unet.conv_in.weight.grad is not None
    monkeypatch.setattr("tdattr.networks.prompts.MOST_BYTES", 2 * TOKENS * WIDTH * 4)
    prompts.known.clear()
    with torch.no_grad():
        network(x, T, Given(ids))
    assert len(prompts.known) == 2


class Counted:
    """A text encoder that notes how many prompts it is asked for."""

    def __init__(self, encoder: Any, asked: list[int]) -> None:
        self.encoder, self.asked = encoder, asked

    def to(self, device: torch.device) -> "Counted":
        return self

    def __call__(self, ids: Tensor) -> Any:
        self.asked.append(len(ids))
        return self.encoder(ids)


def test_the_text_encoder_is_neither_trained_nor_stored_nor_copied(network: StableDiffusion) -> None:
    assert all(name.startswith("unet.") for name in network.state_dict())
    assert len(list(network.parameters())) == len(list(network.unet.parameters()))
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert other.prompts is network.prompts and other.unet is not network.unet


def test_it_starts_from_the_base_weights_also_of_half_precision(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path / "sd")
    base = load_file(folder / UNET[1])
    save_file({name: value.half() for name, value in base.items()}, folder / UNET[1])
    state = network_of(folder).unet.state_dict()
    assert state.keys() == base.keys()
    for name, value in state.items():
        assert torch.equal(value, base[name].half().float())
    assert node(folder).pretrained(*SIZES) is None
    own = node(folder, f1="base").pretrained(*SIZES)
    assert own is not None and torch.equal(own.unet.conv_in.weight, base["conv_in.weight"].half().float())


def test_on_the_meta_device(folder: Path, ids: Tensor) -> None:
    with torch.device("meta"):
        network = node(folder).build(*SIZES)
    network = network.to("meta")
    assert network(torch.zeros(4, 1, 8, 8, device="meta"), T.to("meta"), Given(ids.to("meta"))).shape == (4, 1, 8, 8)
    assert node(folder).count_parameters(3, 64, 0) == sum(value.numel() for value in network.parameters())


def test_parts(network: StableDiffusion) -> None:
    shapes = {part: [network.get_parameter(n).shape for n in network.parameter_names(part)] for part in network.parts}
    blocks = 1 + 2  # transformer blocks on the way down and up; the middle has one more
    assert len(shapes["mlp"]) == 2 * (blocks + 1) and all(len(shape) == 2 for shape in shapes["mlp"])
    assert len(shapes["cross_attention_kv"]) == 2 * (blocks + 1)
    assert all(shape[1] == WIDTH for shape in shapes["cross_attention_kv"])  # they read the prompt
    assert len(shapes["cross_attention"]) == 5 * (blocks + 1)  # q, k, v, and the way out with a bias
    assert len(shapes["all"]) == len(list(network.parameters())) > len(shapes["block"])


def test_activations_that_are_computed_again_change_nothing(folder: Path, ids: Tensor, x: Tensor) -> None:
    gradients = []
    for again in (False, True):
        network = network_of(folder, checkpoint_activations=again).train()
        pickle.dumps(network)  # as for the processes of several devices
        held: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda value, to=held: to.append(value.numel()) or value, same):
            loss = network(x, T, Given(ids)).square().mean()
        loss.backward()
        gradients.append(({n: p.grad for n, p in network.named_parameters()}, sum(held)))
    (kept, all_values), (recomputed, fewer) = gradients
    assert fewer < 0.5 * all_values
    for name, value in kept.items():
        torch.testing.assert_close(value, recomputed[name], atol=0, rtol=0)


def test_a_step_of_training_is_differentiated_also_where_activations_are_computed_again(
    folder: Path, ddpm: DDPM, ids: Tensor, x: Tensor, tiny_train: Callable[..., TrainConfig]
) -> None:
    found = []
    for again in (False, True):
        network = network_of(folder, checkpoint_activations=again).train()
        layout = outline(network)
        step = Step(network, layout, ddpm, tiny_train().in_steps(4), 0)
        row = layout.join(dict(network.named_parameters()))
        end = begin_at_end(row[None], 4, "raw")
        state = torch.cat([row, torch.zeros_like(row), torch.zeros_like(row), row])
        found.append(step.pull(state, Batch(x, T, x, Given(ids)), 3, end.state))
    assert found[0].abs().max() > 0
    torch.testing.assert_close(found[0], found[1], atol=0, rtol=0)


def same(value: Tensor) -> Tensor:
    return value


@pytest.mark.parametrize("again", [False, True])
def test_gradients_of_single_items(folder: Path, ddpm: DDPM, ids: Tensor, x: Tensor, again: bool) -> None:
    network = network_of(folder, checkpoint_activations=again)
    config = GradientConfig("loss", 2, "training", False, "cross_attention_kv", ProjectionConfig("none", 8, 1))
    names = network.parameter_names(config.parameters)
    levels, noise = T[1:3], torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    found = Gradients(network, ddpm, config, names, NoiseSet(levels, noise), 4).of(x, Given(ids))
    for item in range(4):
        network.zero_grad()
        given = Given(ids[item].expand(2, -1))
        ddpm.loss(network, x[item].expand(2, 1, 8, 8), levels, noise, given).mean().backward()
        expected = torch.cat([network.get_parameter(name).grad.flatten() for name in names])
        torch.testing.assert_close(found[item], expected, atol=1e-6, rtol=1e-4)


def test_fisher_information_of_keys_and_values(network: StableDiffusion, ddpm: DDPM, ids: Tensor, x: Tensor) -> None:
    """What AbU divides by: the squared gradients of single items, one by one."""
    names = network.parameter_names("cross_attention_kv")
    items = BatchItems(Batch(x, T, x, Given(ids)))
    found = sum_squares(network, ddpm, items, names, (3, 1, 0), 4, "Fisher")
    expected = {name: torch.zeros(network.get_parameter(name).shape) for name in names}
    for item in range(4):
        rng = generator(3, "fisher", 1, 0, item)
        level, noise = ddpm.training_levels(rng, 1), normal(rng, 1, 8, 8)[None]
        network.zero_grad()
        ddpm.loss(network, x[item : item + 1], level, noise, Given(ids[item : item + 1])).sum().backward()
        for name, total in expected.items():
            total += network.get_parameter(name).grad.square()  # type: ignore[union-attr]
    for name, total in expected.items():
        torch.testing.assert_close(found[name].float(), total, atol=1e-9, rtol=1e-3)
        assert total.sum() > 0


def test_under_bfloat16_prompts_keep_float32(network: StableDiffusion, ids: Tensor, x: Tensor) -> None:
    network.prompts.known.clear()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        found = network(x, T, Given(ids))
    assert found.dtype == torch.bfloat16
    assert {value.dtype for value in network.prompts.known.values()} == {torch.float32}
    with torch.no_grad():
        torch.testing.assert_close(found.float(), network(x, T, Given(ids)), atol=0.05, rtol=0.05)


# -- how it is trained and sampled -------------------------------------------------------------------------------------


def test_the_schedule_of_the_pipeline_is_the_published_one(ddpm: DDPM) -> None:
    entry = golden("sd15.alpha_bar")
    entry.check("published code (float32)", ddpm.alpha_bar[entry.constants["t"]])
    assert ddpm.sampler == "dpm_solver" and ddpm.steps == 50
    golden("sd15.dpm_solver").check("timesteps", ddpm.generation_levels(50).long().tolist())


@pytest.mark.parametrize(("t", "value"), [(10, 0.990431309), (50, 0.951576650), (500, 0.276332468), (990, 0.005191632)])
def test_alpha_bar_of_the_published_code(ddpm: DDPM, t: int, value: float) -> None:
    assert float(ddpm.alpha_bar[t]) == pytest.approx(value, rel=2e-6)


@pytest.mark.slow
def test_samples_are_those_of_a_loop_over_the_scheduler_of_diffusers(
    folder: Path, theirs: Callable[..., Tensor], network: StableDiffusion, ddpm: DDPM, ids: Tensor
) -> None:
    """As in the published code: the scheduler of DPM-Solver++ from the pipeline's config, 50 steps, guidance 7.5."""
    scheduler = DPMSolverMultistepScheduler.from_pretrained(str(folder / "scheduler"))
    scheduler.set_timesteps(50)
    golden("sd15.dpm_solver").check("timesteps", scheduler.timesteps)
    golden("sd15.dpm_solver").check("sigmas", scheduler.sigmas)
    start = torch.stack([normal(rng, 1, 8, 8) for rng in rngs(2)])
    z = start * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        both = theirs(torch.cat([z, z]), torch.cat([ids[2:3].expand(2, -1), ids[:2]]), t)
        without, told = both.chunk(2)
        z = scheduler.step(without + 7.5 * (told - without), t, z).prev_sample
    with torch.inference_mode():
        found = ddpm.sample(network, rngs(2), (1, 8, 8), Given(ids[:2]), 7.5)
    torch.testing.assert_close(found, z, atol=1e-4, rtol=1e-4)
