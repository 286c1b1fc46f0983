"""Every method and every unlearning objective on a text-to-image model, whose x is latents and whose conditions are the
token ids of prompts: it works, or one sentence says why not before anything is prepared."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import tdattr
from tdattr.errors import UserError
from tests.codecs.vaes import save_vae
from tests.conftest import CONF
from tests.features.tiny_clip import save_clip
from tests.networks.tiny_pipeline import save_pipeline
from tests.small_methods import GRADIENTS, MUCS, SHIFT

pytestmark = pytest.mark.slow

LEFT_OUT = (
    "DejaVu Sans Mono", "STIX General", "Computer Modern Sans", "Computer Modern Italic", "Computer Modern Bold"
)  # fmt: skip
SMALL = [
    *["model=sd_tiny", "codec=vae", "diffusion=diffusers", "diffusion.steps=3", "+text@dataset.text=tokens"],
    *["dataset=glyphs", "dataset.source.characters=digits", "dataset.source.resolution=8"],
    *["dataset.source.condition=none", f"remove.groups=[{','.join(LEFT_OUT)}]"],
    *["train.steps=3", "train.batch_size=8", "train.keep=raw", "train.warmup_steps=0", "weights=raw"],
    *["queries.attributed=2", "queries.controls=0", "queries.guidance=7.5", "trainer.accelerator=cpu"],
    *["trainer.threads=1", "logger=none"],
]
ALL = ["protocol=logo", "elbo.stride=300"]
GROUPS = [*ALL, "attributed_groups=[DejaVu Sans,DejaVu Serif]"]
UNLEARN = ["method.unlearn.steps=2", "method.unlearn.batch_size=4", "method.unlearn.learning_rate=1e-3"]
GUDA_U = ["method=guda_u", *GROUPS, *UNLEARN, "method.unlearn.warmup_steps=0"]
GUDA_C = ["method=guda_c", *GROUPS, *UNLEARN, "method.unlearn.kept=[]"]
ABU = ["method=abu", "method.draws=16", "method.fisher.epochs=1", "method.fisher.damping=1", *SHIFT]
LOSS = "method.unlearn.retain=loss"
FORM = "method.objective.prompt='{object} in a {descriptors} typeface'"
ANCHORS = [FORM, "method.objective.descriptors=1"]
CLIP = ["{}.extractor.weights=CLIP", "{}.extractor.file=model.safetensors"]
DINO = ["{}.extractor.weights=DINO", "{}.extractor.size=28"]
DINO += [f"++{{}}.extractor.arguments.{value}" for value in ("embed_dim=8", "depth=1", "num_heads=2")]
TEXT = "text@{}.text=pipeline"
CLASSIFIER = ["method.extractor.steps=2", "method.extractor.batch_size=8"]
MEMBERS = {
    "mucs": [value.replace("method.", "{}.") for value in MUCS[1:]],
    "das": [value.replace("method.", "{}.") for value in GRADIENTS],
    "dtrak": [value.replace("method.", "{}.") for value in GRADIENTS],
    "dino": DINO,
    "clip": CLIP,
    "condition": [TEXT],
    "forward_inf": [value.replace("method.", "{}.") for value in SHIFT],
}


def place(overrides: list[str], where: str = "method") -> list[str]:
    """Overrides of a method that stands there."""
    return [override.format(where) for override in overrides]


def ensemble(name: str, *members: str) -> list[str]:
    return [f"method={name}", *(o for member in members for o in place(MEMBERS[member], f"method.members.{member}"))]


# by the name of the method, and what is special
METHODS: dict[str, list[str]] = {
    "abu": ABU,
    "abu, keys and values": [*ABU, "method.trainable=cross_attention_kv"],
    "clip": ["method=clip", *place(CLIP)],
    "condition, prompts": ["method=condition", *place([TEXT])],
    "das": ["method=das", *GRADIENTS],
    "das, cross-attention": ["method=das", *GRADIENTS, "method.gradients.parameters=cross_attention"],
    "dino": ["method=dino", *place(DINO)],
    "dtrak": ["method=dtrak", *GRADIENTS],
    "ensemble_a, prompts": ensemble("ensemble_a", *MEMBERS),
    "ensemble_b, prompts": ensemble("ensemble_b", "mucs", "dino", "clip", "condition"),
    "ensemble_c, prompts": ensemble("ensemble_c", "das", "dtrak", "dino", "clip", "condition", "forward_inf"),
    "ensemble_d, prompts": ensemble("ensemble_d", "dino", "clip", "condition"),
    "features": ["method=features", *CLASSIFIER],
    "forward_inf": ["method=forward_inf", *SHIFT],
    "gradient_cosine": ["method=gradient_cosine", *GRADIENTS],
    "group_metagradient": ["method=group_metagradient", *GROUPS, "method.points=2"],
    "group_similarity": ["method=group_similarity", *GROUPS, *CLASSIFIER],
    "group_similarity, clip": [*GROUPS, "method=group_similarity", "extractor@method.extractor=clip_b32", *place(CLIP)],
    "guda_c": [*GUDA_C, "text@method.objective.text=pipeline", *ANCHORS],
    "guda_u": GUDA_U,
    "guda_u, importance": [*GUDA_U, "method.elbo.importance=2", "elbo.draws=2"],
    "guda_u, saliency": [*GUDA_U, "mask@method.unlearn.mask=saliency"],
    "journey_trak": ["method=journey_trak", *GRADIENTS],
    "logo": ["method=logo", *GROUPS],
    "logo_again": ["method=logo_again", *GROUPS],
    "logo_images": ["method=logo_images", *GROUPS],
    "metagradient": ["method=metagradient", "method.output.draws=4"],
    "metagradient, elbo": ["method=metagradient", "output@method.output=elbo", "elbo.stride=300"],
    "metagradient, pixels": ["method=metagradient", "output@method.output=pixels", "method.output.directions=2"],
    "metagradient, ssim": ["method=metagradient", "output@method.output=ssim", "method.output.directions=2"],
    "mucs": MUCS,
    "mucs, cross-attention": [*MUCS, "method.unlearn.trainable=cross_attention"],
    "mucs, auto": [*MUCS, "ablation=auto_schedule"],
    "pixel": ["method=pixel"],
    "random": ["method=random"],
    "shapley": ["method=shapley", *ALL, *UNLEARN, "method.unlearn.warmup_steps=0", "method.orders=2"],
    "tracin": ["method=tracin", *GRADIENTS],
    "ekfac": ["method=ekfac", "method.gradients.draws=2"],
    "source": ["method=source", "method.gradients.draws=2", "method.checkpoints=1"],
    "tracin_training": ["method=tracin_training", "method.gradients.draws=2", "method.checkpoints=2"],
    "trak": ["method=trak", *GRADIENTS],
}
OBJECTIVES: dict[str, list[str]] = {
    "awss": ["text@method.objective.text=pipeline", *ANCHORS],
    "erasediff": [],
    "esd, of F1": ["method.objective.teacher=null"],
    "finetune, loss": [LOSS],
    "gradient_ascent": [],
    "matched_retain": [],
    "matched_retain_published_code": [],
    "retrack": [],
    "retrack_contrast": [],
    "retrack_paper": [],
    "retrack_published_code": [],
    "siss, loss": [LOSS],
    "style_removed": [FORM],
    "uniform": ANCHORS,
}
IDS = (
    "method=condition compares vectors, and this model's conditions are token ids: choose what makes vectors of prompts"
)
TEACHER = (
    "objective=esd would train a teacher that is told groups, and the run's network reads prompts: set "
    "method.objective.teacher=null, so that F1 itself is the teacher."
)
REFUSED_METHODS = {
    "condition": (["method=condition"], IDS),
    "ensemble_a": (ensemble("ensemble_a", "dino", "clip"), IDS),
    "ensemble_b": (ensemble("ensemble_b", "dino", "clip"), IDS),
    "ensemble_c": (ensemble("ensemble_c", "dino", "clip"), IDS),
    "ensemble_d": (ensemble("ensemble_d", "dino", "clip"), IDS),
}
DISTILL = "objective={} cannot be run with method.unlearn.retain=distill: set it to loss."
REFUSED_OBJECTIVES = {
    "esd": ([], TEACHER),
    "finetune": ([], DISTILL.format("finetune")),
    "siss": ([], DISTILL.format("siss")),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A pipeline with its VAE, a CLIP, and a DINO: where they are, by what stands for it in overrides."""
    folder = tmp_path_factory.mktemp("weights")
    save_pipeline(folder / "sd", in_channels=2, out_channels=2)
    save_vae(folder / "sd" / "vae", channels=3)
    save_clip(folder / "clip")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit = timm.create_model("vit_base_patch14_dinov2", num_classes=0, embed_dim=8, depth=1, num_heads=2)
    save_file(vit.state_dict(), folder / "dino.safetensors")
    return {"CLIP": str(folder / "clip"), "DINO": str(folder / "dino.safetensors"), "SD": str(folder / "sd")}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store, so that F1 is trained once."""
    return tmp_path_factory.mktemp("outputs")


def settings(overrides: list[str], weights: dict[str, str], outputs: Path) -> list[str]:
    """All overrides of a run, with the places of weights in them."""
    given = [*SMALL, "model.weights=SD", *overrides]
    for name, path in weights.items():
        given = [override.replace(f"weights={name}", f"weights={path}") for override in given]
    return [*given, f"paths.outputs={outputs}"]


def choices(group: str) -> set[str]:
    return {path.stem for path in (CONF / group).glob("*.yaml")}


def names(*tables: dict[str, object]) -> set[str]:
    return {key.partition(",")[0] for table in tables for key in table}


def works() -> Iterator[object]:
    yield from (pytest.param(overrides, id=name) for name, overrides in METHODS.items())
    for name, overrides in OBJECTIVES.items():
        yield pytest.param([*GUDA_C, f"objective@method.objective={name.partition(',')[0]}", *overrides], id=name)


def refused() -> Iterator[object]:
    yield from (pytest.param(*case, id=name) for name, case in REFUSED_METHODS.items())
    for name, (overrides, sentence) in REFUSED_OBJECTIVES.items():
        yield pytest.param([*GUDA_C, f"objective@method.objective={name}", *overrides], sentence, id=name)


def test_none_is_left_out() -> None:
    assert names(METHODS, REFUSED_METHODS) == choices("method")
    assert names(OBJECTIVES, REFUSED_OBJECTIVES) == choices("objective")


@pytest.mark.parametrize("overrides", works())
def test_what_works(
    overrides: list[str], weights: dict[str, str], outputs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scores = tdattr.attribute(tdattr.compose(settings(overrides, weights, outputs)))
    values = scores.values
    targets = 90 if "protocol=logo" not in overrides else 2 if GROUPS[-1] in overrides else 4
    assert values.shape == (2, targets)
    assert values.isfinite().all() and values.std(1).min() > 0
    assert "is not known before" not in caplog.text  # what a step takes of the memory


@pytest.mark.parametrize(("overrides", "sentence"), refused())
def test_what_does_not_is_said_before_anything_is_prepared(
    overrides: list[str], sentence: str, weights: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        tdattr.compose(settings(overrides, weights, tmp_path))
    assert str(error.value).startswith(sentence) and "\n" not in str(error.value)
    assert not list(tmp_path.glob("artifacts/*"))
