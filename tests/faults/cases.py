"""Small runs that together visit every stage of the store, and which stages the code has."""

import ast
from pathlib import Path

from tests.base_model.command import SMALL as BASE_MODEL
from tests.features.words import NODE as WORDS
from tests.small_methods import GRADIENTS

TDATTR = Path(__file__).parents[2] / "tdattr"
CALLS = ("plan", "share", "shared")  # what a stage's name is the first argument of
WEIGHTS = "WEIGHTS"  # in a command: a file of weights that another run has trained
VAE = "FOLDER_OF_A_VAE"  # in a command: one with random weights
BASE = "base"  # the case of tdattr-base
PUBLISHED = "published/sd_tiny"  # its folder, in the store so that it is looked at as artifacts are

SMALL = [
    "model.blocks=1",
    "model.width=16",
    "model.heads=1",
    "diffusion.steps=4",
    "train.steps=12",
    "train.epoch_steps=4",
    "train.batch_size=8",
    "queries.attributed=2",
    "queries.controls=1",
    "queries.batch_size=2",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.feature_batch=64",
]
DIGITS = [*SMALL, "dataset=digits", "dataset.recipe.guidance=2.0", "remove.groups=[2,3,4,5,6,7,8,9]"]
CLASSIFIER = ["steps=6", "batch_size=8"]
ELBO = ["elbo.stride=197", "protocol=logo"]
SMOOTH = [*DIGITS, "train.epsilon=1e-3"]
DRAWS, OUTPUT = "method.gradients.draws=2", ["method.output.draws=2", *ELBO]
ABU = ["method=abu", "method.draws=8", "method.batch_size=8", "method.score.pairs=4", "method.fisher.damping=1.0"]

CASES: dict[str, list[str]] = {
    "mucs": [
        *DIGITS,
        "method=mucs",
        "ablation=auto_schedule",
        "method.unlearn.max_steps=3",
        "method.unlearn.batch_size=10",
        "method.null_loss.batches=2",
        "method.null_loss.batch_size=10",
        "method.score.pairs=20",
    ],
    "das": [
        *[*DIGITS, "method=das", *GRADIENTS, "protocol=lds"],
        *["protocol.subsets=3", "protocol.repeats=1", "protocol.draws=20"],
    ],
    "abu": [*DIGITS, *ABU, "method.fisher.epochs=2", "train.mirror=true", f"checkpoint={WEIGHTS}"],
    "guda": [
        *[*DIGITS, "method=guda_u", "method.unlearn.steps=9", "method.unlearn.warmup_steps=2"],
        *["method.unlearn.batch_size=8", "method.unlearn.kept=[3]", *ELBO],
    ],
    "prompts": [
        *[*SMALL, "dataset=glyph_digits", f"dataset.text={WORDS}", "dataset.groups=family", "queries.prompt=a bold 4"],
        *["attributed_groups=[DejaVu Sans,DejaVu Serif]", "method=guda_c", "objective@method.objective=style_removed"],
        *["method.objective.prompt='{object} in a {descriptors} typeface'", "method.unlearn.steps=6"],
        *["method.unlearn.kept=[3]", "method.unlearn.batch_size=4", *ELBO],
    ],
    "latents": [
        *[*DIGITS, *ABU, "method.fisher.epochs=1", "train.mirror=true"],
        *["model.patch=2", "codec=vae", f"codec.weights={VAE}"],
        *["accuracy=classifier", "accuracy.images=3", "accuracy.object_classifier.by=label"],
        *(f"accuracy.style_classifier.{setting}" for setting in CLASSIFIER),
    ],
    "features": [
        *[*DIGITS, "method=features", *(f"method.extractor.{setting}" for setting in CLASSIFIER)],
        *["health.samples=6", *(f"health.extractor.{setting}" for setting in CLASSIFIER)],
    ],
    "metagradient": [
        *[*SMOOTH, "method=metagradient", "method.weight=0.5", "train.removal=empty"],
        *["output@method.output=pixels", "method.output.directions=2"],
    ],
    "group_metagradient": [*SMOOTH, "method=group_metagradient", "method.points=2", *ELBO],
    "tracin_training": [*SMOOTH, "method=tracin_training", "method.checkpoints=3", DRAWS],
    "source": [*SMOOTH, "method=source", "method.checkpoints=3", DRAWS],
    "ekfac": [*SMOOTH, "method=ekfac", DRAWS],
    BASE: [*BASE_MODEL, "trainer.threads=1", f"folder=${{paths.artifacts}}/{PUBLISHED}"],
}


def stages_of_code() -> list[str]:
    """The names of all stages, as the source code has them: the first arguments of the calls that plan artifacts."""
    stages: set[str] = set()
    for path in sorted(TDATTR.rglob("*.py")):
        tree = ast.parse(path.read_text())
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
                name = node.args[0] if node.args else None
                value = constants.get(name.id) if isinstance(name, ast.Name) else getattr(name, "value", None)
                if isinstance(value, str):
                    stages.add(value)
    return sorted(stages)
