"""A checkpoint of diffusers as F1, from its folder to its images: what is adopted, what may be said otherwise."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file

import tdattr
from tdattr.errors import UserError
from tdattr.pipeline.train import import_weights, load_network, train
from tdattr.pipeline.workspace import Workspace
from tdattr.queries import query_generator
from tdattr.seeding import normal
from tests.e2e.console import TINY

pytestmark = pytest.mark.slow  # each composes a config

SIZES = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "norm_num_groups": 4}
SIZES |= {"block_out_channels": (4, 8), "attention_head_dim": 4}
BLOCKS = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
VELOCITY = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
PLAIN = ["train.condition_dropout=0", "queries.guidance=null"]  # without a label for none
BASE = [argument for argument in TINY if not argument.startswith("model.")]


def saved(folder: Path, labels: int = 10, scheduler: Any = None) -> UNet2DModel:
    """A pipeline with a tiny network, whose labels are the digits, and maybe a last one for none."""
    torch.manual_seed(0)
    unet = UNet2DModel(**SIZES, **BLOCKS, num_class_embeds=labels).eval()
    unet.save_pretrained(folder / "unet")
    (DDIMScheduler(**VELOCITY) if scheduler is None else scheduler).save_pretrained(folder / "scheduler")
    return unet


def workspace(folder: Path, *overrides: str, diffusion: str = "diffusers") -> Workspace:
    chosen = ["model=diffusers", f"model.path={folder}", f"diffusion={diffusion}", "method=pixel"]
    return tdattr.compose([*BASE, *chosen, f"paths.outputs={folder / 'outputs'}", *overrides])


def test_a_pipeline_is_sampled_as_diffusers_samples_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unet = saved(tmp_path)
    with caplog.at_level(logging.INFO):
        ws = workspace(tmp_path, *PLAIN)
    assert "Adopted from the checkpoint: diffusion.timesteps=1000, " in caplog.text
    assert "diffusion.clip=1.0" in caplog.text and "diffusion.variance" not in caplog.text  # which DDIM does not read
    assert "they are counterfactuals of this recipe, not of the checkpoint's own training" in caplog.text
    assert ws.cfg.diffusion.prediction == "v_prediction"  # what is stored beside the run
    queries = tdattr.generate(ws)
    scheduler = DDIMScheduler(**VELOCITY)
    scheduler.set_timesteps(ws.cfg.diffusion.steps)
    x = torch.stack([normal(query_generator(ws.seed, query), 1, 8, 8) for query in range(len(queries))])
    labels = queries.conditions.argmax(1)
    with torch.inference_mode():
        for t in scheduler.timesteps.tolist():
            x = scheduler.step(unet(x, t, class_labels=labels).sample, t, x).prev_sample
    torch.testing.assert_close(queries.x, x, rtol=1e-2, atol=1e-2)
    assert torch.equal(load_network(ws, train(ws)).state_dict()["unet.conv_in.weight"], unet.conv_in.weight)


def test_what_is_said_wins_but_for_the_training(tmp_path: Path) -> None:
    saved(tmp_path, scheduler=PNDMScheduler(beta_schedule="scaled_linear", steps_offset=1))
    with pytest.raises(
        UserError, match=r"is of the class PNDMScheduler, whose sampler is not implemented: choose another"
    ):
        workspace(tmp_path, *PLAIN)
    ws = workspace(tmp_path, *PLAIN, "diffusion.sampler=ddim", "diffusion.clip=null")
    assert (ws.diffusion.sampler, ws.diffusion.offset, ws.diffusion.clip) == ("ddim", 1, None)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"The checkpoint was trained with diffusion.beta_end=0.02 "):
        workspace(tmp_path, *PLAIN, "diffusion.sampler=ddim", "diffusion.beta_end=0.03")


def test_without_a_label_for_none_no_condition_is_dropped(tmp_path: Path) -> None:
    saved(tmp_path)
    for left, setting in zip(PLAIN, ("queries.guidance=null", "train.condition_dropout=0"), strict=True):
        with pytest.raises(UserError, match=rf"no label for an item without a condition.* set {setting}\.$"):
            workspace(tmp_path, left)
    saved(tmp_path / "with", labels=11)
    workspace(tmp_path / "with")
    saved(tmp_path / "fewer", labels=9)
    with pytest.raises(UserError, match=r"has 9 labels but the dataset 10 conditions"):
        workspace(tmp_path / "fewer")


def test_damaged_weights_are_found_before_anything_is_computed(tmp_path: Path) -> None:
    saved(tmp_path)
    path = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    save_file(weights | {"conv_in.bias": weights["conv_in.bias"] * torch.nan}, path)
    with pytest.raises(UserError, match=r"diffusion_pytorch_model.safetensors holds conv_in.bias with 4 of 4 numbers"):
        workspace(tmp_path, *PLAIN)


def test_other_models_have_no_scheduler_to_adopt(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"diffusion=diffusers adopts a checkpoint's scheduler: set model=diffusers"):
        tdattr.compose([*TINY, "diffusion=diffusers", f"paths.outputs={tmp_path}"])


def test_the_schedulers_training_is_in_the_address(tmp_path: Path) -> None:
    saved(tmp_path, scheduler=DDIMScheduler())
    first = import_weights(workspace(tmp_path, *PLAIN)).address
    assert import_weights(workspace(tmp_path, *PLAIN, "diffusion.steps=4")).address == first
    saved(tmp_path, scheduler=DDIMScheduler(beta_end=0.03))
    assert import_weights(workspace(tmp_path, *PLAIN)).address != first
