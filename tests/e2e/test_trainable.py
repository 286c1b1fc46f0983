"""A part of a base model is trained, from the command line: what is stored, what is differentiated, what is refused."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.e2e.console import tdattr
from tests.e2e.tiny_text import SMALL, TOKENS
from tests.networks.tiny_pipeline import save_pipeline

LAST = "unet.up_blocks.1."
PART = [f"train.trainable={LAST}*", "train.learning_rate=1e-2", TOKENS]
LOGO = ["protocol=logo", "elbo.stride=300", "attributed_groups=[STIX General,DejaVu Sans]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the base is."""
    folder = tmp_path_factory.mktemp("trainable")
    save_pipeline(folder / "sd")
    return folder


def test_only_the_part_is_trained_stored_and_differentiated(folder: Path) -> None:
    small = [*SMALL, *PART, "train.epsilon=1e-3"]
    done = tdattr("method=group_metagradient", "method.smoothness=null", *LOGO, *small, folder=folder)
    assert "The way back through the training of F1 takes" in done.stderr and "is not known before" not in done.stderr
    f1, *others = [load_file(path) for path in sorted(folder.glob("outputs/artifacts/pretrain/*/raw.safetensors"))]
    assert len(others) == 2 and f1 and all(name.startswith(LAST) for name in f1)
    for other in others:
        assert other.keys() == f1.keys()
        assert 0 < max(float((value - f1[name]).abs().max()) for name, value in other.items()) < 0.1
    [derivatives] = folder.glob("outputs/artifacts/metagradients/*/metagradients.safetensors")
    values = next(value for value in load_file(derivatives).values() if value.ndim == 2)
    assert values.isfinite().all() and values.abs().max() > 0
    done = tdattr("method=random", "until=generate", *small, folder=folder)
    assert "Training" not in done.stderr  # F1 is there, and is loaded into the base
    own = next(folder.glob("outputs/artifacts/pretrain/*/raw.safetensors"))
    tdattr("method=random", "until=generate", *small, f"checkpoint={own}", folder=folder)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["train.trainable=last"], "The network has no part 'last': choose one of mlp, cross_attention,"),
        (["train.trainable=unet.nothing.*"], "The network has no parameter unet.nothing.*: its first one is unet."),
        ([PART[0], "train.lora.rank=2"], "train.lora.rank=2 trains an adapter and nothing else"),
        ([PART[0], "method=mucs", "method.unlearn.trainable=unet.mid_block.*"], "leaves all of the part"),
        ([PART[0], "checkpoint=sd/unet/diffusion_pytorch_model.safetensors"], "and train.trainable as"),
        (["checkpoint=part.safetensors"], "and train.trainable as it was trained with"),
        (["train.trainable=mlp", "model=dit_tiny"], "train a part of a model that has base weights: choose model=sd15"),
    ],
)
def test_what_cannot_be_trained_is_refused_first(folder: Path, overrides: list[str], sentence: str) -> None:
    base = load_file(folder / "sd" / "unet" / "diffusion_pytorch_model.safetensors")
    save_file({f"unet.{name}": base[name] for name in base if name.startswith("mid_")}, folder / "part.safetensors")
    small = [value for value in SMALL if not ("model=dit_tiny" in overrides and value.startswith(("model", "diff")))]
    outputs = folder / f"refused_{abs(hash(sentence))}"
    done = tdattr(*small, TOKENS, f"paths.outputs={outputs}", *overrides, folder=folder, check=False)
    assert done.returncode == 1 and sentence in " ".join(done.stderr.split())
    assert not list(outputs.glob("artifacts/*/*"))  # nothing was prepared
