"""LoRA from the command line, at the size of a toy: F1, LOGO, unlearning, gradients, and a file of the user's own."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tdattr import library
from tdattr.pipeline.train import build_network
from tests.e2e.console import tdattr
from tests.e2e.tiny_text import MUCS, SMALL, TOKENS
from tests.networks.tiny_pipeline import save_pipeline

LORA = ["train.lora.rank=2", "train.learning_rate=1e-2", TOKENS]
LAYER = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight"
ALL = "method.unlearn.trainable=all"
RANDOM = ["method=random", "until=generate"]
LOGO = ["protocol=logo", "elbo.stride=300", "attributed_groups=[STIX General,DejaVu Sans]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an F1 with LoRA was trained, of which a copy is ``own.safetensors``."""
    folder = tmp_path_factory.mktemp("lora")
    save_pipeline(folder / "sd")
    tdattr(*RANDOM, *SMALL, *LORA, folder=folder)
    [f1] = read(folder, "pretrain/*/raw.safetensors")
    save_file(f1, folder / "own.safetensors")
    return folder


def read(folder: Path, pattern: str) -> list[dict[str, torch.Tensor]]:
    return [load_file(path) for path in sorted(folder.glob(f"outputs/artifacts/{pattern}"))]


def newest(folder: Path) -> dict:
    path = max(folder.glob("outputs/runs/**/summary.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(path.read_text())


def test_logo(folder: Path) -> None:
    files = {path: path.read_bytes() for path in (folder / "sd").rglob("*") if path.is_file()}
    done = tdattr("method=logo", *LOGO, *SMALL, *LORA, folder=folder)
    assert "Retraining 2 of 2" in done.stderr
    models = read(folder, "pretrain/*/raw.safetensors")
    assert len(models) == 1 + 2
    assert all(".lora_" in name for model in models for name in model)  # the adapter alone is stored
    start = library.compose(
        ["method=random", *SMALL, *LORA, f"model.weights={folder}/sd", f"paths.outputs={folder}/outputs"]
    )
    first = build_network(start).weights()
    for model in models:  # all start at one adapter of one base
        assert model.keys() == first.keys()
        change = max(float((value - first[name]).abs().max()) for name, value in model.items())
        assert 0 < change < 0.1
    assert len({model[LAYER].sum().item() for model in models}) == 3
    assert newest(folder)["agreement"]["spearman"]["mean"] == 1
    size = next(folder.glob("outputs/artifacts/pretrain/*/raw.safetensors")).stat().st_size
    assert start.weight_bytes < size < start.weight_bytes + 20_000  # what plan=true counts
    assert files == {path: path.read_bytes() for path in (folder / "sd").rglob("*") if path.is_file()}


def test_unlearning_moves_the_adapter_alone(folder: Path) -> None:
    unlearn = ["method.unlearn.steps=2", "method.unlearn.batch_size=4", "method.unlearn.learning_rate=1e-3"]
    objective = ["objective@method.objective=gradient_ascent", "until=attribute"]
    tdattr("method=guda_u", *unlearn, *objective, *LOGO, *SMALL, *LORA, folder=folder)
    models, f1 = read(folder, "unlearn/*/step_2.safetensors"), load_file(folder / "own.safetensors")
    assert len(models) == 2
    for model in models:
        assert model.keys() == f1.keys()
        assert 0 < max(float((value - f1[name]).abs().max()) for name, value in model.items()) < 0.01  # from F1's


@pytest.mark.parametrize(
    "method",
    [
        ["method=mucs", ALL, *MUCS],
        ["method=dtrak", "method.gradients.draws=2", "method.gradients.projection.dimension=8", "until=attribute"],
        ["method=abu", "method.trainable=cross_attention_kv", "method.draws=4", "method.batch_size=2",
         "method.fisher.epochs=1", "method.fisher.damping=1", "method.score.pairs=2", "until=attribute"],
    ],
    ids=lambda method: method[0],
)  # fmt: skip
def test_methods_take_the_adapter_for_the_parameters(folder: Path, method: list[str]) -> None:
    before = set(folder.glob("outputs/artifacts/attribute/*/scores.safetensors"))
    tdattr(*method, *SMALL, *LORA, folder=folder)
    paths = set(folder.glob("outputs/artifacts/attribute/*/scores.safetensors")) - before
    scores = [load_file(path)["scores"] for path in paths]  # the protocol's random ones too, once
    assert scores and all(values.isfinite().all() and values.std(1).min() > 0 for values in scores)


def test_a_lora_of_ones_own_is_f1(folder: Path) -> None:
    weights = load_file(folder / "own.safetensors")
    before = len(read(folder, "pretrain/*/raw.safetensors"))
    done = tdattr(*RANDOM, "checkpoint=own.safetensors", *SMALL, TOKENS, folder=folder)
    assert "Adopted from the LoRA: train.lora.rank=2 train.lora.alpha=2 train.lora.targets=" in done.stderr
    assert "Training" not in done.stderr
    assert len(read(folder, "pretrain/*/raw.safetensors")) == before
    [stored] = read(folder, "checkpoint/*/raw.safetensors")
    assert stored.keys() == weights.keys() and all(torch.equal(stored[name], weights[name]) for name in weights)
    assert (
        "rank: 2" in max(folder.glob("outputs/runs/*/config.yaml"), key=lambda path: path.stat().st_mtime).read_text()
    )


def spoil(weights: dict[str, torch.Tensor], name: str, folder: Path) -> None:
    """Write files that are no LoRA of this model."""
    if name == "wider.safetensors":
        weights = {key: value.repeat(1, 3) if "lora_A" in key else value for key, value in weights.items()}
    if name == "whole.safetensors":
        weights = {"unet.conv_in.weight": torch.zeros(1)}
    save_file({} if name == "empty.safetensors" else weights, folder / name)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["checkpoint=wider.safetensors"], "is a LoRA of another model, or of other layers than train.lora.targets"),
        (["checkpoint=empty.safetensors"], "holds no tensors: give a file with weights."),
        (["checkpoint=own.bin"], "is a pickle, which can run any program: give a .safetensors file."),
        (["checkpoint=nowhere.safetensors"], "is not a file"),
        (["checkpoint=whole.safetensors", "train.lora.rank=2"], "is no LoRA, which train.lora.rank=2 says that it is"),
        (["train.lora.rank=2", "train.lora.targets=[qkv]"], "has 'qkv', which is in the name of no layer"),
        (["train.lora.alpha=2"], "train.lora.alpha=2 has no effect with train.lora.rank=null"),
        (["train.lora.rank=2", "model=dit_tiny"], "part of a model that has base weights: choose model=sd15"),
        (["train.lora.rank=2", "method=mucs"], "leaves all of the part 'mlp' as it is"),
    ],
)
def test_what_cannot_be_adapted_is_refused_first(folder: Path, overrides: list[str], sentence: str) -> None:
    if overrides[0].startswith("checkpoint="):
        name = overrides[0].removeprefix("checkpoint=")
        if name != "nowhere.safetensors":
            spoil(load_file(folder / "own.safetensors"), name, folder)
    small = [value for value in SMALL if not ("model=dit_tiny" in overrides and value.startswith(("model", "diff")))]
    outputs = folder / f"refused_{abs(hash(sentence))}"
    done = tdattr(*small, TOKENS, f"paths.outputs={outputs}", *overrides, folder=folder, check=False)
    assert done.returncode == 1 and sentence in " ".join(done.stderr.split())
    assert not list(outputs.glob("artifacts/*/*"))  # nothing was prepared
