"""Does Stable Diffusion 1.5 fit, and how long does a step of it take? The U-Net at its full size, 860 million weights.

The weights are random, so that nothing is downloaded. Each of four steps runs in a process of its own and prints its
time and the most memory that the process held: a training step (AdamW and the moving average), an unlearning step
towards another prompt beside the frozen F1, a block of losses for scores, and a step of DPM-Solver++ with guidance 7.5.
They are those of trainings in float32 with activations that are computed again; about 19 GB are needed.

What an H100 would need is reckoned and not measured: memory as bytes a parameter, time as the operations that
torch counts in a forward pass, a backward pass as two of them and one more for activations that are computed again.

    python benchmarks/sd_full_size.py [--resolution 256] [--threads 1] [--only training,unlearning,scoring,sampling]
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch.optim.swa_utils import AveragedModel
from torch.utils.flop_counter import FlopCounterMode

from tdattr.configs import build
from tdattr.diffusion.batch import Batch
from tdattr.diffusion.ddpm import DDPM
from tdattr.networks import Given
from tdattr.networks.clip_tokenizer import tokenize
from tdattr.networks.prompts import open_prompts
from tdattr.networks.stable_diffusion import StableDiffusion
from tdattr.networks.stable_diffusion_folder import load_tokenizer
from tdattr.scoring.cells import BatchItems, LossModel
from tdattr.scoring.pairs import NoiseSet
from tdattr.search_path import CONF
from tdattr.seeding import generator
from tdattr.training.module import approach
from tdattr.training.recording import peak_memory
from tdattr.unlearning.objectives import loss_towards

GUDA_C = {"schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "sampler": "dpm_solver"}
FACTOR = 8  # pixels of a side of a latent's value
CHANNELS = 4  # of a latent
GUIDANCE = 7.5
BLOCK = 4  # cells of the block of losses
LAMBDA = 1.0  # of the retained item
# bytes a parameter in float32
TRAINING_BYTES = {"weights": 4, "gradients": 4, "Adam's moments": 8, "average": 4}
UNLEARNING_BYTES = {"weights": 4, "gradients": 4, "Adam's moments": 8, "frozen F1": 4}
# operations a second of an H100 SXM in bfloat16 (NVIDIA's data sheet, dense), and the share that is reached: ours
H100_PEAK, H100_SHARE = 989e12, 0.35
PAPER = {  # of GUDA-C: images that pass through the U-Net, and the passes of each in units of a forward pass, at pixels
    "a training, 10 000 steps of 80": (800_000, 3, 256),
    "an unlearning, 5 000 steps of 4": (20_000, 3 + 1, 512),  # and F1 on both
    "losses of a model, 320 x 99": (31_680, 1, 512),
    "320 queries, 50 steps, guided": (32_000, 1, 512),
}


def make_folder(folder: Path) -> Path:
    """The description of a text encoder of Stable Diffusion's size, and a tokenizer without words."""
    from transformers import CLIPTextConfig, CLIPTokenizer

    config = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, bos_token_id=0
    )
    config.save_pretrained(folder / "text_encoder")
    CLIPTokenizer(model_max_length=77).save_pretrained(folder / "tokenizer")
    return folder


def make_network(folder: Path) -> StableDiffusion:
    """At its full size with random weights; the text encoder too."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    prompts = open_prompts(folder)
    if prompts.model is None:
        prompts.model = CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder")).eval()
    unet = UNet2DConditionModel(cross_attention_dim=prompts.width)  # all else of Stable Diffusion is the default
    return StableDiffusion(unet, prompts, checkpoint_activations=True)


def make_diffusion() -> DDPM:
    """That of GUDA-C."""
    node = OmegaConf.load(CONF / "diffusion" / "ddpm.yaml")
    diffusion = build(OmegaConf.merge(node, GUDA_C, {"c_noise": "timestep", "steps": 1}), "diffusion", DDPM)
    assert isinstance(diffusion, DDPM)
    return diffusion


def make_batch(network: StableDiffusion, side: int, count: int, prompt: str) -> Batch:
    """Random latents, each at a level and noise of its own, with one prompt."""
    rng = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, count, CHANNELS, side, side, generator=rng)
    ids = torch.from_numpy(tokenize(load_tokenizer(network.prompts.root), [prompt])).expand(count, -1)
    return Batch(x, torch.randint(1000, (count,), generator=rng).float(), noise, Given(ids))


def train(network: StableDiffusion, side: int) -> Callable[[], None]:
    """A step on one item."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-6, fused=True)
    average = AveragedModel(network, multi_avg_fn=partial(approach, decay=0.9999, ramp=True))
    batch, diffusion = make_batch(network, side, 1, "a cat"), make_diffusion()

    def step() -> None:
        optimizer.zero_grad()
        diffusion.loss(network.train(), *batch.inputs).mean().backward()
        optimizer.step()
        average.update_parameters(network)

    return step


def unlearn(network: StableDiffusion, side: int) -> Callable[[], None]:
    """A step on one forgotten item, towards F1 under another prompt, and a retained one, near F1."""
    f1 = make_network(network.prompts.root).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-6, fused=True)
    diffusion = make_diffusion()
    forget, anchor, retain = (make_batch(network, side, 1, prompt) for prompt in ("a cat", "a dog", "a tree"))

    def step() -> None:
        optimizer.zero_grad()
        for batch, told, weight in ((forget, anchor, 1.0), (retain, retain, LAMBDA)):  # one graph at a time
            with torch.no_grad():
                target = diffusion.predicted_noise(f1, *told.inputs)
            (weight * loss_towards(diffusion, network, batch, target).mean()).backward()
        optimizer.step()

    return step


def score(network: StableDiffusion, side: int) -> Callable[[], None]:
    """A block of losses: items at shared pairs of level and noise."""
    batch = make_batch(network.eval(), side, BLOCK // 2, "a cat")
    model = LossModel(make_diffusion(), network, torch.device("cpu"), BLOCK)
    rows, columns = np.divmod(np.arange(BLOCK), 2)

    def step() -> None:
        model.cells(BatchItems(batch), NoiseSet(batch.level, batch.noise), rows, columns)

    return step


def sample(network: StableDiffusion, side: int) -> Callable[[], None]:
    """One step for one query, with guidance."""
    given, diffusion = make_batch(network.eval(), side, 1, "a cat").given, make_diffusion()

    def step() -> None:
        with torch.inference_mode():
            diffusion.sample(network, [generator(0, "query", 0)], (CHANNELS, side, side), given, GUIDANCE)

    return step


STEPS: dict[str, tuple[Callable[[StableDiffusion, int], Callable[[], None]], str]] = {
    "training": (train, "1 item"),
    "unlearning": (unlearn, "1 forgotten, 1 retained item"),
    "scoring": (score, f"{BLOCK} cells"),
    "sampling": (sample, "1 query, guided"),
}


def measure(name: str, folder: Path, side: int, threads: int) -> tuple[float, float]:
    """The seconds of a step, and the GiB that this process has held at most."""
    torch.set_num_threads(threads)
    step = STEPS[name][0](make_network(folder), side)
    started = time.perf_counter()
    step()
    return time.perf_counter() - started, peak_memory(torch.device("cpu"))


def count_operations(folder: Path, resolution: int) -> int:
    """Of a forward pass of one item, by torch's counter on a network without numbers."""
    side = resolution // FACTOR
    with torch.device("meta"):
        network = make_network(folder)
    inputs = torch.zeros(1, CHANNELS, side, side, device="meta"), torch.zeros(1, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.to("meta")(*inputs)
    return int(counter.get_total_flops())


def reckon(folder: Path) -> None:
    """Print what an H100 would need."""
    with torch.device("meta"):
        parameters = sum(value.numel() for value in make_network(folder).parameters())
    print(f"\nan H100, reckoned for {parameters / 1e6:.1f} million parameters (float32, activations not counted):")
    for what, parts in (("training", TRAINING_BYTES), ("unlearning", UNLEARNING_BYTES)):
        gigabytes = parameters * sum(parts.values()) / 1e9
        print(f"  {what}: {gigabytes:.1f} GB ({' + '.join(f'{n} {size} P' for n, size in parts.items())})")
    rate = H100_PEAK * H100_SHARE
    print(f"  time at {H100_SHARE:.0%} of {H100_PEAK / 1e12:.0f} T operations a second (bfloat16):")
    for what, (images, passes, resolution) in PAPER.items():
        operations = count_operations(folder, resolution)
        hours = images * passes * operations / rate / 3600
        print(f"  {what}, {resolution} px: {operations / 1e12:.2f} T a forward pass, {hours:.2f} h")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=256, help="pixels of a side; GUDA-C trains at 256")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default=",".join(STEPS), help="some of the steps, with commas; empty: none")
    options = parser.parse_args()
    side = options.resolution // FACTOR
    with tempfile.TemporaryDirectory() as temporary:
        folder = make_folder(Path(temporary))
        print(f"one step at {options.resolution} px on {options.threads} CPU threads:", flush=True)
        for name in filter(None, options.only.split(",")):
            arguments: Any = (name, folder, side, options.threads)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, gib = pool.apply(measure, arguments)
            print(f"  {name} ({STEPS[name][1]}): {seconds:.1f} s, at most {gib:.1f} GiB", flush=True)
        reckon(folder)


if __name__ == "__main__":
    main()
