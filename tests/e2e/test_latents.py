"""Whole runs on the latents of a VAE: every family of methods, however the work is divided, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tdattr
from tdattr.errors import UserError
from tdattr.pipeline.attribute import attribute
from tdattr.pipeline.generate import generate
from tdattr.pipeline.train import train
from tdattr.pipeline.workspace import Workspace
from tdattr.planning.graph import Graph
from tdattr.planning.seconds import Estimates
from tdattr.planning.workspace import open_planned
from tests.codecs.vaes import save_vae
from tests.e2e.console import tdattr as command
from tests.small_methods import GRADIENTS, MUCS, SHIFT, UNLEARN

SMALL = [
    "dataset=glyph_digits", "dataset.source.resolution=8", "codec=vae", "model.blocks=1", "model.width=16",
    "model.heads=1", "model.patch=2", "diffusion.steps=3", "diffusion.sigma_data=1", "train.steps=6",
    "train.warmup_steps=1", "train.epoch_steps=3", "train.batch_size=8", "train.mirror=true", "queries.attributed=2",
    "queries.controls=1", "trainer.accelerator=cpu", "trainer.threads=1", "logger=none",
]  # fmt: skip
GROUPS = ["elbo.stride=250", "protocol=logo"]
ESD = ["objective@method.objective=esd"]
TEACHER = [f"method.objective.teacher.train.{value}" for value in ("steps=2", "warmup_steps=1", "batch_size=8")]
FAMILIES = {
    "pixel": ["method=pixel"],
    "mucs, auto": [*MUCS, "ablation=auto_schedule"],
    "forward_inf": ["method=forward_inf", *SHIFT],
    "abu": ["method=abu", "method.draws=16", "method.fisher.epochs=1", "method.fisher.damping=1", *SHIFT],
    "das": ["method=das", *GRADIENTS],
    "journey_trak": ["method=journey_trak", *GRADIENTS],
    "guda": [*UNLEARN, *GROUPS],
    "esd": [*UNLEARN, *GROUPS, *ESD, *TEACHER],
    "siss": [*UNLEARN, *GROUPS, "objective@method.objective=siss"],
    "health": ["method=random", "health.samples=4", "health.extractor.steps=2", "health.extractor.batch_size=8"],
}


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> str:
    """For images in colour, which gray ones are repeated for."""
    folder = tmp_path_factory.mktemp("vae")
    save_vae(folder, channels=3)
    return f"codec.weights={folder}"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store, so that F1 is trained once."""
    return f"paths.outputs={tmp_path_factory.mktemp('outputs')}"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_methods_works_on_latents(family: str, vae: str, outputs: str) -> None:
    ws = tdattr.compose([*SMALL, vae, outputs, *FAMILIES[family]])
    if family == "health":
        assert ws.health.samples and tdattr.evaluate(ws)["num_queries"] == 2
        return
    scores = tdattr.attribute(ws)
    assert scores.values.isfinite().all() and len(scores.values) == 2
    queries = tdattr.generate(ws)
    assert queries.x.shape[1:] == ws.x_shape == (2, 4, 4) and queries.images.shape[1:] == (1, 8, 8)
    assert (queries.images == ws.codec.decode(queries.x, 1)).all()


def find_scores(ws: Workspace) -> torch.Tensor:
    return load_file(attribute(ws).get().folder / "scores.safetensors")["scores"]


def test_a_command_from_end_to_end(vae: str, tmp_path: Path) -> None:
    """Nothing is encoded twice, and scores depend neither on workers, nor on the size of batches."""
    done = command(*SMALL, vae, *MUCS, folder=tmp_path)
    (path,) = tmp_path.glob("outputs/runs/*/summary.json")
    assert json.loads(path.read_text())["method"] == "mucs"
    assert done.stderr.count("Latents (train): x has mean") + done.stdout.count("Latents (train): x has mean") == 1
    assert len(list(tmp_path.glob("outputs/artifacts/latents/[!.]*"))) == 3  # of both sides, and of the test split
    again = command(*SMALL, vae, *MUCS, folder=tmp_path)
    assert "nothing was computed" in again.stdout + again.stderr
    first = find_scores(tdattr.compose([*SMALL, vae, *MUCS, f"paths.outputs={tmp_path / 'outputs'}"]))

    command(*SMALL, vae, *MUCS, "workers=2", f"paths.outputs={tmp_path / 'two'}", folder=tmp_path)
    shared = tdattr.compose([*SMALL, vae, *MUCS, f"paths.outputs={tmp_path / 'two'}"])
    assert attribute(shared).finished and torch.equal(find_scores(shared), first)

    sizes = ["trainer.scoring_batch=7", "queries.batch_size=1", "trainer.workers=1"]
    other = find_scores(tdattr.compose([*SMALL, vae, *MUCS, *sizes, f"paths.outputs={tmp_path / 'sizes'}"]))
    torch.testing.assert_close(other, first, rtol=1e-3, atol=1e-4)


def test_a_plan_counts_latents_and_encodes_none(vae: str, tmp_path: Path) -> None:
    given = [*SMALL, vae, *MUCS, "train.mirror=false", "method.score.mirror=true", f"paths.outputs={tmp_path}"]
    cfg = tdattr.compose(given).cfg
    graph = Graph()
    graph.add(open_planned(cfg))
    entries = [entry for entry in graph if entry.plan.stage == "latents"]
    assert sorted((entry.plan.key["config"]["split"], entry.plan.key["config"]["mirrored"]) for entry in entries) == [
        ("test", False), ("train", False), ("train", True),
    ]  # fmt: skip
    assert all(entry.missing and entry.cost.work.bytes and entry.cost.work.looks for entry in entries)
    estimates = [Estimates().estimate(entry) for entry in entries]
    assert all(found.source == "measured" and found.seconds > 0 for found in estimates)
    assert not list(tmp_path.glob("artifacts/latents/*"))


def test_what_depends_on_the_vae_and_on_the_draw(vae: str, outputs: str, tmp_path: Path) -> None:
    save_vae(tmp_path, channels=3, seed=1)

    def addresses(*overrides: str) -> tuple[str, ...]:
        ws = tdattr.compose([*SMALL, vae, outputs, "method=pixel", *overrides])
        f1 = train(ws)
        return f1.address, generate(ws, f1).address, attribute(ws).address

    first = addresses()
    for overrides in (["codec.draw=false"], [f"codec.weights={tmp_path}"]):
        assert not set(first) & set(addresses(*overrides))
    pixels = tdattr.compose([*(part for part in SMALL if part != "codec=vae"), outputs, "method=pixel"])
    assert set(train(pixels).key["inputs"]) == {"dataset"} and train(pixels).address not in first


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["dataset=coco"], "dataset=coco see random windows of them: use codec=pixels"),
        (["train.augmentation.enabled=true"], "set train.augmentation.enabled=false"),
        (["diffusion=ddpm"], "set diffusion.clip=null with codec=vae"),
        (["dataset.source.resolution=9"], "2 times shorter, which 9 x 9 pixels do not allow"),
        (["codec.weights=nowhere"], "nowhere does not exist: set codec.weights"),
        (["codec.weights=null"], "codec=vae needs a VAE"),
        (
            [*UNLEARN, *GROUPS, *ESD, "method.objective.teacher.train.augmentation.enabled=true"],
            "Latents cannot be augmented: set method.objective.teacher.train.augmentation.enabled=false",
        ),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_trained(
    overrides: list[str], words: str, vae: str, tmp_path: Path
) -> None:
    replaced = [part.partition("=")[0] for part in overrides if part.startswith(("dataset=", "diffusion="))]
    given = [part for part in SMALL if not part.startswith(tuple(replaced))]
    with pytest.raises(UserError) as refused:
        tdattr.compose([*given, vae, f"paths.outputs={tmp_path}", *overrides])
    assert words in str(refused.value) and "\n" not in str(refused.value)
    assert not list(tmp_path.glob("artifacts/pretrain/*")) and not list(tmp_path.glob("artifacts/latents/*"))
