"""A user's own artists: a folder of images with captions through a Stable Diffusion, from the command line."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from tests.codecs.vaes import save_vae
from tests.e2e.console import MUCS, tdattr
from tests.networks.tiny_pipeline import save_pipeline

ARTISTS = {"Ada": ("bold", "serif"), "Bo": ("thin", "sans"), "Cy": ("slanted", "bold")}
THINGS = ("the letter a", "the digit 2", "the small letter b", "the digit 7")  # words of the tests' tokenizer
FORM = "{object} in a {descriptors} typeface"
SMALL = [
    *["model=sd15", "model.weights=sd", "codec=vae", "diffusion=diffusers", "diffusion.steps=3"],
    *["+text@dataset.text=tokens", "dataset=image_folder", "dataset.source.root=art", "dataset.source.resolution=16"],
    *["dataset.source.captions=captions.csv", "dataset.source.held_out=4", "queries.guidance=2.0"],
    *["train.steps=4", "train.batch_size=4", "train.warmup_steps=1", "train.epoch_steps=2"],
    *["train.keep=raw", "weights=raw", "queries.attributed=2", "queries.controls=1", "trainer.threads=1"],
]
GROUPS = ["protocol=logo", "elbo.stride=500"]
UNIFORM = [
    *["method=guda_c", "objective@method.objective=uniform", "method.unlearn.steps=2", "method.unlearn.epochs=null"],
    *["method.unlearn.batch_size=2", "method.objective.descriptors=1"],
    f"method.objective.prompt='{FORM}'",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three artists, photographs of different sizes, captions as a table, and a pipeline with its VAE."""
    folder = tmp_path_factory.mktemp("artists")
    save_pipeline(folder / "sd", in_channels=2, out_channels=2)
    save_vae(folder / "sd" / "vae", channels=3)
    rng, rows = np.random.default_rng(0), []
    for artist, words in ARTISTS.items():
        (folder / "art" / artist).mkdir(parents=True)
        for number in range(8):
            name = f"{artist}/{number}.{'JPG' if number % 2 else 'png'}"
            size = (20 + number, 24, 3)
            Image.fromarray(rng.integers(256, size=size, dtype=np.uint8)).save(folder / "art" / name)
            said = FORM.format(object=THINGS[number % len(THINGS)], descriptors=", ".join(words))
            rows.append({"file": name, "caption": said})
    with (folder / "art" / "captions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "caption"])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def newest(folder: Path) -> dict:
    path = max(folder.glob("outputs/runs/**/summary.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(path.read_text())


@pytest.mark.parametrize("method", [["method=logo"], UNIFORM], ids=["logo", "guda_c"])
def test_artists_are_attributed(method: list[str], folder: Path) -> None:
    tdattr(*method, *GROUPS, *SMALL, folder=folder)
    summary = newest(folder)
    assert summary["groups"] == len(ARTISTS) and summary["num_items"] == 18
    scores = load_file(folder / "outputs/artifacts" / summary["artifacts"]["scores"] / "scores.safetensors")["scores"]
    assert scores.shape == (2, 3) and scores.isfinite().all() and float(scores.std(1).min()) > 0


def test_pictures_are_attributed(folder: Path) -> None:
    small = ["method.null_loss.batch_size=4", "protocol.k=2"]
    tdattr("method=mucs", *MUCS, *small, *SMALL, folder=folder)
    summary = newest(folder)
    assert summary["protocol"] == "leave_k_out" and 0 <= summary["metrics"]["ssim"]["auc"] <= 1
    [path] = [path for path in folder.glob("outputs/runs/*/attributions.csv") if "name" in path.read_text()]
    assert "Ada/" in path.read_text()  # items by the names of their files


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["dataset.source.captions=null"], "item 0 has no prompt to make a condition of: give captions, or"),
        (["dataset.source.captions=long.csv"], "1 of 24 prompts has more than the 16 tokens"),
        (["dataset.source.captions=short.csv"], "short.csv has no caption for 23 images, first Ada/1.JPG: add them"),
        (["protocol=logo", "method=logo", "attributed_groups=[Ada,Di]"], "attributed_groups names 'Di', which is no"),
    ],
)
def test_what_cannot_work_is_said_before_any_training(overrides: list[str], words: str, folder: Path) -> None:
    whole = (folder / "art" / "captions.csv").read_text().splitlines()
    (folder / "art" / "short.csv").write_text("\n".join(whole[:2]))
    (folder / "art" / "long.csv").write_text("\n".join(whole).replace("in a bold", f"in a {'bold ' * 12}", 1))
    before = set(folder.glob("outputs/artifacts/*/*"))
    done = tdattr("method=mucs", *SMALL, *overrides, folder=folder, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert words in " ".join(done.stderr.split())
    after = set(folder.glob("outputs/artifacts/*/*"))
    assert not {path for path in after - before if path.parent.name in ("pretrain", "latents")}
