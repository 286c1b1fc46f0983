import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tdattr.diffusion.ddpm import DDPM
from tdattr.errors import UserError
from tdattr.networks import Network
from tdattr.networks.lora import LoraConfig
from tdattr.training.weights import TRAINED_FOR, check_weights, make_metadata, training_values
from tests.diffusion.fakes import variant


class Plain(nn.Linear, Network):
    """A network of three numbers."""

    parts: ClassVar = {}


NO_LORA = LoraConfig(None, None, [])


def ddpm(timesteps: int, steps: int = 10) -> DDPM:
    return variant("ddpm", timesteps=timesteps, schedule="cosine", steps=steps)


def test_checkpoints_of_another_number_of_timesteps_or_another_variant_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = Plain(2, 1)
    path = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), path)
    check_weights(path, network, ddpm(1000))
    assert "does not say what it was trained for" in caplog.text and "'timesteps': 1000" in caplog.text
    caplog.clear()
    save_file(network.state_dict(), path, metadata=make_metadata(ddpm(4000), NO_LORA))
    check_weights(path, network, ddpm(4000, steps=20))  # sampling does not matter
    assert not caplog.text
    with pytest.raises(UserError, match=r"trained with diffusion.timesteps=4000: set that"):
        check_weights(path, network, ddpm(1000))
    save_file(network.state_dict(), path, metadata={TRAINED_FOR: '{"name": "edm", "sigma_data": 0.5}'})
    with pytest.raises(UserError, match=r"trained with diffusion=edm: set that"):
        check_weights(path, network, ddpm(4000))


def test_files_that_have_a_setting_under_its_old_name_are_read(tmp_path: Path) -> None:
    network, path, vp = Plain(2, 1), tmp_path / "weights.safetensors", variant("vp")
    values = training_values(vp)
    values["code"] = values.pop("c_noise")
    save_file(network.state_dict(), path, metadata={TRAINED_FOR: json.dumps(values)})
    check_weights(path, network, vp)
    with pytest.raises(UserError, match=r"trained with diffusion.c_noise=log_sigma: set that"):
        check_weights(path, network, variant("vp", c_noise="timestep"))


def test_older_files_were_trained_to_predict_the_noise(tmp_path: Path) -> None:
    network, path = Plain(2, 1), tmp_path / "weights.safetensors"
    save_file(network.state_dict(), path, metadata={TRAINED_FOR: '{"name": "ddpm", "timesteps": 1000}'})
    check_weights(path, network, variant("ddpm"))
    with pytest.raises(UserError, match=r"trained with diffusion.prediction=epsilon: set that"):
        check_weights(path, network, variant("ddpm", prediction="v_prediction"))


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match="another architecture: of its tensors and this model's 2 do not fit"):
        check_weights(path, Plain(2, 1), ddpm(1000))


@pytest.mark.parametrize(
    ("tensors", "kind"),
    [
        (
            ["encoder.conv_in.weight", "decoder.conv_in.weight", "quant_conv.weight"],
            "a VAE, whose folder is given with codec=vae codec.weights=FOLDER",
        ),
        (["text_model.embeddings.position_ids"], "a text encoder or a CLIP"),
        (
            ["model.diffusion_model.out.0.weight", "first_stage_model.encoder.conv_in.weight"],
            "a whole pipeline in one file, which diffusers saves as folders",
        ),
    ],
)
def test_a_file_of_something_else_is_named(tensors: list[str], kind: str, tmp_path: Path) -> None:
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file({name: torch.zeros(3) for name in tensors}, path)
    said = f"checkpoint={path} seems to be {kind}, not the weights of a network like this model's."
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        check_weights(path, Plain(2, 1), ddpm(1000))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            lambda bias: bias * torch.nan,
            r"checkpoint=.* holds bias with 1 of 1 numbers that are not finite: give other",
        ),
        (lambda bias: bias / 0, r"holds bias with 1 of 1 numbers that are not finite"),
        (lambda bias: bias.int(), r"holds bias as int32, not as floating-point numbers: give other weights\.$"),
        (lambda bias: bias > 0, r"holds bias as bool"),
        (lambda bias: bias.to(torch.complex64), r"holds bias as complex64"),
    ],
)
def test_weights_that_are_no_finite_numbers_are_refused(
    broken: Callable[[torch.Tensor], torch.Tensor], message: str, tmp_path: Path
) -> None:
    network, path = Plain(2, 1), tmp_path / "weights.safetensors"
    state = network.state_dict()
    save_file(state | {"bias": broken(state["bias"])}, path)
    with pytest.raises(UserError, match=message):
        check_weights(path, network, ddpm(1000))


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_any_precision_are_read(kind: torch.dtype, tmp_path: Path) -> None:
    network, path = Plain(2, 1), tmp_path / "weights.safetensors"
    save_file({name: value.to(kind) for name, value in network.state_dict().items()}, path)
    check_weights(path, network, ddpm(1000))
