"""The VAE against diffusers itself, and what is said of folders that hold none."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tdattr.codecs import vae as module
from tdattr.codecs.vae import CONFIG, VAE, WEIGHTS, load_vae
from tdattr.errors import Unavailable, UserError
from tdattr.seeding import generator, normal
from tests.codecs.vaes import save_vae

CPU = torch.device("cpu")


def codec(folder: Path, draw: bool = True) -> VAE:
    return VAE("vae", str(folder), draw)


def images(channels: int, count: int = 3, side: int = 8) -> torch.Tensor:
    return torch.tanh(normal(generator(0, "test.vae"), count, channels, side, side))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For gray images."""
    path = tmp_path_factory.mktemp("vae")
    save_vae(path)
    return path


@pytest.mark.parametrize(("channels", "shift"), [(1, None), (3, 0.25)])
def test_moments_x_and_images_are_those_of_diffusers(channels: int, shift: float | None, tmp_path: Path) -> None:
    theirs = save_vae(tmp_path, channels, shift_factor=shift)
    ours, seen, offset = codec(tmp_path), images(channels), shift or 0.0
    known = theirs.encode(seen).latent_dist
    moments = ours.encode(seen)
    assert moments.shape == (3, 4, 4, 4) and ours.shape((channels, 8, 8)) == (2, 4, 4)
    torch.testing.assert_close(moments, known.parameters, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.x(moments, None), (known.mode() - offset) * 3.0)
    noise = normal(generator(5, "test.draw"), 3, 2, 4, 4)
    drawn = ours.x(moments, generator(5, "test.draw"))
    torch.testing.assert_close(drawn, (known.mean + known.std * noise - offset) * 3.0)
    assert (drawn - ours.x(moments, None)).abs().mean() > 0.1
    decoded = theirs.decode(drawn / 3.0 + offset).sample.clamp(-1, 1)
    torch.testing.assert_close(ours.decode(drawn), decoded, rtol=0, atol=1e-5)


def test_log_variances_are_clamped_as_diffusers_does(folder: Path) -> None:
    moments = torch.zeros(1, 4, 4, 4)
    moments[:, 2:] = 100.0
    assert codec(folder).x(moments, generator(0, "x")).abs().max() < 3.0 * 5 * torch.tensor(10.0).exp()


def test_a_vae_in_colour_gets_gray_images_three_times(tmp_path: Path) -> None:
    theirs, seen = save_vae(tmp_path, 3), images(1)
    ours = codec(tmp_path)
    moments = ours.encode(seen)
    torch.testing.assert_close(moments, theirs.encode(seen.repeat(1, 3, 1, 1)).latent_dist.parameters)
    x = ours.x(moments, None)
    assert ours.decode(x).shape == (3, 3, 8, 8)
    torch.testing.assert_close(ours.decode(x, 1), ours.decode(x).mean(1, keepdim=True))


def test_how_many_images_pass_together_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, seen = codec(folder), images(1, 5)
    whole = ours.encode(seen)
    monkeypatch.setattr(module, "PIXELS_TOGETHER", 2 * 64)
    torch.testing.assert_close(ours.encode(seen), whole, rtol=0, atol=1e-5)
    x = ours.x(whole, None)
    torch.testing.assert_close(ours.decode(x), torch.cat([ours.decode(part) for part in x.split(1)]), rtol=0, atol=1e-5)


def test_what_is_decoded_can_be_differentiated_whoever_loaded_the_network(folder: Path) -> None:
    load_vae.cache_clear()
    ours, x = codec(folder), normal(generator(0, "test.x"), 1, 2, 4, 4)
    with torch.inference_mode():
        ours.decode(x)
    assert not ours.decode(x).requires_grad  # and nothing is kept for it where nobody asks
    (gradient,) = torch.autograd.grad(ours.decode(x.requires_grad_()).sum(), x)
    assert gradient.abs().max() > 0


def test_a_folder_of_a_pipeline_is_its_vae(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "vae")
    (tmp_path / "model_index.json").write_text("{}")
    inside, alone = codec(tmp_path), codec(folder)
    assert inside.identity() == alone.identity() and inside.describe() == alone.describe()
    save_vae(tmp_path / "vae", seed=1)
    assert codec(tmp_path).identity()[WEIGHTS] != alone.identity()[WEIGHTS]


def test_a_hub_id_is_that_of_a_pipeline_or_of_a_vae(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holds: list[str] = []

    def find(hub_id: str, files: list[str], setting: str, download: bool) -> Path:
        assert (hub_id, setting) == ("artist/pictures", "codec.weights")
        if files != holds:
            raise Unavailable(f"{files[0]} is missing")
        return folder.parent if "/" in files[0] else folder

    monkeypatch.setattr(module, "find_folder", find)
    for names, expected in (([f"vae/{CONFIG}", f"vae/{WEIGHTS}"], folder.parent / "vae"), ([CONFIG, WEIGHTS], folder)):
        holds[:] = names
        assert VAE("vae", "artist/pictures", True).folder == expected
    holds.clear()
    with pytest.raises(UserError, match=r"vae/config.json is missing"):
        VAE("vae", "artist/pictures", True).check()


def test_a_loader_gets_x_without_the_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = codec(folder)
    moments = ours.encode(images(1))
    sent = pickle.dumps(ours)
    assert len(sent) < 10_000
    monkeypatch.setattr(module, "load_vae", None)
    assert torch.equal(pickle.loads(sent).x(moments, generator(1, "x")), ours.x(moments, generator(1, "x")))


def test_sizes_and_channels_that_do_not_fit(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2 times shorter, which 9 x 9 pixels do not allow: set dataset.source.res"):
        codec(folder).shape((1, 9, 9))
    with pytest.raises(UserError, match=r"for images of 1 channel but the dataset's have 3"):
        codec(folder).shape((3, 8, 8))
    save_vae(tmp_path, 3, levels=3)
    assert codec(tmp_path).shape((1, 16, 16)) == (2, 4, 4)


class Bomb:
    """What a pickle may run."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch exploded",)


def settings(**changes: object) -> Callable[[Path], None]:
    """Changes values of config.json."""

    def change(folder: Path) -> None:
        path = folder / CONFIG
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def only_pickle(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    """Changes the weights."""

    def apply(folder: Path) -> None:
        state = load_file(folder / WEIGHTS)
        change(state)
        save_file(state, folder / WEIGHTS, {"format": "pt"})

    return apply


FIRST = "encoder.conv_in.weight"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, "does not exist: set codec.weights"),
        (lambda folder: (folder / CONFIG).unlink(), "has no config.json, nor has a folder vae"),
        (lambda folder: (folder / WEIGHTS).unlink(), f"has no {WEIGHTS}"),
        (only_pickle, "is a pickle, which can run any program"),
        (lambda folder: (folder / CONFIG).write_text("{"), "is not JSON"),
        (settings(_class_name="UNet2DConditionModel"), "of the class UNet2DConditionModel: set codec.weights to an Au"),
        (settings(scaling_factor=0), "has scaling_factor=0"),
        (settings(scaling_factor="0.18"), "number must stand without quotes"),
        (settings(shift_factor=float("inf")), "shift_factor=inf"),
        (settings(latents_mean=[0.0, 0.0]), "has latents_mean, which is not supported"),
        (settings(block_out_channels=4), "must have a list of block_out_channels"),
        (settings(out_channels=3), "takes 1 channels and gives 3"),
    ],
)
def test_folders_that_hold_no_vae(
    spoil: Callable[[Path], None], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_vae(tmp_path / "vae")
    spoil(tmp_path / "vae")
    with pytest.raises(UserError, match=words):
        codec(tmp_path / "vae").check()
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / WEIGHTS).write_bytes(b"nothing"), "does not hold the weights of the VAE"),
        (tensors(lambda state: state.pop(FIRST)), f"does not hold the weights .* see {FIRST}"),
        (tensors(lambda state: state[FIRST].fill_(float("nan"))), f"holds {FIRST} with .* numbers that are not finite"),
        (settings(latent_channels=3), "does not hold the weights of the VAE"),
    ],
)
def test_weights_that_are_damaged(spoil: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    save_vae(tmp_path)
    spoil(tmp_path)
    codec(tmp_path).check()
    with pytest.raises(UserError, match=words):
        codec(tmp_path).load(CPU)


def test_no_weights_were_given() -> None:
    with pytest.raises(UserError, match=r"codec=vae needs a VAE .* set codec.weights"):
        VAE("vae", None, True).check()


def test_the_network_is_loaded_once(folder: Path) -> None:
    before = load_vae.cache_info().misses
    for _ in range(3):
        codec(folder).load(CPU)
    assert load_vae.cache_info().misses <= before + 1
