"""Do two versions of tdattr give the same results? A fixed set of small commands, and a comparison of what they left.

    python -m tests.same_results run OLD         # with the code of one version, in one thread: a file per command
    python -m tests.same_results run NEW         # with the code of another one
    python -m tests.same_results compare OLD NEW

Compared are the weights of F1, the generated images, the scores, the numbers of the verdict and its table of queries.
"""

import argparse
import fnmatch
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 1e-6  # of the largest value of an array
# pattern of case/array -> (tolerance, why it is not equal to TOLERANCE): filled when a change reorders arithmetic
EXCEPTIONS: dict[str, tuple[float, str]] = {
    "*guda*/*": (
        1e-4,
        "evidence lower bounds take the residual without adding and subtracting the noise, and DDPM, VP and flow round "
        "predicted noise otherwise: scores differ by up to 5e-6, correlations over a few groups by up to 6e-5",
    ),
    "logo/*m[as]e*": (1.0, "method=logo is its own gold standard here: errors of 1e-17, which are all rounding"),
}
# pattern of case/array -> why there is no such number any more
GONE = {"*guda*/*retained_loss_growth": "logs too short to tell how the loss grew said 1, as if that had been measured"}
UNTIMED = ("seconds", "member_seconds")  # columns that differ between any two runs

SMALL = [
    "dataset=glyph_digits",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "train.steps=120",
    "train.warmup_steps=10",
    "train.epoch_steps=60",
    "train.ema=0.9",
    "queries.attributed=3",
    "queries.controls=2",
]
CLASSIFIER = ["steps=4", "batch_size=8"]
ELBO = ["elbo.stride=97", "protocol=logo"]
UNLEARN = ["method.unlearn.steps=6", "method.unlearn.warmup_steps=2", "method.unlearn.batch_size=16"]
MUCS = [
    "method=mucs",
    "method.null_loss.batches=2",
    "method.null_loss.batch_size=16",
    "method.unlearn.batch_size=16",
    "method.unlearn.max_steps=5",
    "method.score.pairs=12",
]
GRADIENTS = ["method.gradients.draws=4", "method.gradients.projection.dimension=64"]
INSTANCE_WEIGHTS = [
    "extractor@method.unlearn.instance_weights.extractor=classifier",
    "method.unlearn.instance_weights.extractor.steps=4",
    "method.unlearn.instance_weights.extractor.batch_size=8",
]
SHIFT = ["method.batch_size=8", "method.score.pairs=6"]
ABU = ["method=abu", "method.draws=16", "method.fisher.epochs=1", *SHIFT]
MIXTURES = [
    "dataset=mixtures",
    "dataset.source.groups=3",
    "dataset.source.items=60",
    "dataset.source.test_items=12",
    "protocol=truth",
]


def within(node: str, overrides: list[str]) -> list[str]:
    """The overrides below a node."""
    return [f"{node}.{override}" for override in overrides]


CASES: dict[str, list[str]] = {
    # every method that needs no download
    "random": ["method=random"],
    "pixel": ["method=pixel"],
    "condition": ["method=condition"],
    "features": ["method=features", *within("method.extractor", CLASSIFIER)],
    "mucs": MUCS,
    "forward_inf": ["method=forward_inf", *SHIFT],
    "abu": ABU,
    "dtrak": ["method=dtrak", *GRADIENTS],
    "das": ["method=das", *GRADIENTS],
    "trak": ["method=trak", *GRADIENTS],
    "journey_trak": ["method=journey_trak", *GRADIENTS],
    "tracin": ["method=tracin", *GRADIENTS],
    "gradient_cosine": ["method=gradient_cosine", *GRADIENTS],
    "tracin_training": ["method=tracin_training", "method.gradients.draws=4"],
    "source": ["method=source", "method.gradients.draws=4", "method.checkpoints=2"],
    "ekfac": ["method=ekfac", "method.gradients.draws=4"],
    "metagradient": ["method=metagradient", "method.output.draws=4"],
    "metagradient_elbo": ["method=metagradient", "output@method.output=elbo", "elbo.stride=97"],
    "metagradient_pixels": ["method=metagradient", "output@method.output=pixels", "method.output.directions=2"],
    "metagradient_ssim": ["method=metagradient", "output@method.output=ssim", "method.output.directions=2"],
    "ensemble": [
        "method=ensemble_b",
        "~method.members.clip",
        "~method.members.dino",
        "~method.weights.clip",
        "~method.weights.dino",
        *[override.replace("method.", "method.members.mucs.") for override in MUCS[1:]],
    ],
    "group_similarity": ["method=group_similarity", *within("method.extractor", CLASSIFIER), *ELBO],
    "group_metagradient": ["method=group_metagradient", "method.points=2", *ELBO],
    "logo": ["method=logo", *ELBO],
    "logo_again": ["method=pixel", "method@protocol.ceiling=logo_again", *ELBO],
    "logo_images": ["method=logo_images", *ELBO],
    "shapley": ["method=shapley", "method.orders=2", *UNLEARN, *ELBO],
    "importance": ["method=logo", "method.elbo.importance=4", *ELBO],
    # every objective
    **{
        f"guda_{objective}": ["method=guda_u", f"objective@method.objective={objective}", *UNLEARN, *ELBO]
        for objective in (
            "retrack",
            "retrack_contrast",
            "retrack_paper",
            "retrack_published_code",
            "esd",
            "erasediff",
            "siss",
            "gradient_ascent",
            "finetune",
        )
    },
    "guda_distill": ["method=guda_u", "method.unlearn.retain=distill", *UNLEARN, *ELBO],
    "guda_masked": ["method=guda_u", "mask@method.unlearn.mask=saliency", *UNLEARN, *ELBO],
    "guda_uncoupled": ["method=guda_u", "method.unlearn.coupled=false", *UNLEARN, *ELBO],
    # every ablation
    **{
        f"mucs_{ablation}": [
            *(part for part in MUCS if ablation != "no_null_loss" or "null_loss" not in part),  # which it does not read
            f"ablation={ablation}",
            *(INSTANCE_WEIGHTS if ablation in ("instance_weights", "exponential_weights") else []),
        ]
        for ablation in (
            "augment",
            "auto_schedule",
            "auto_unlearn_levels",
            "block",
            "exponential_weights",
            "fresh_noise",
            "full_schedule",
            "instance_weights",
            "moved_pairs",
            "no_null_loss",
            "shared_noise",
            "subtraction",
            "training_levels",
            "unlearn_levels",
            "weight_0.1",
        )
    },
    # every other protocol
    "lds": ["method=pixel", "protocol=lds", "protocol.subsets=4", "protocol.repeats=1", "protocol.draws=50"],
    "lds_grid": [
        *["method=das", "method.damping=grid", "method.grid=[0.1,10]", "queries.explained=controls"],
        *[*GRADIENTS, "protocol=lds", "protocol.subsets=4", "protocol.repeats=2", "protocol.draws=50"],
    ],
    "truth": ["method=pixel", *MIXTURES],
    "truth_guda": ["method=guda_u", "elbo.stride=97", *UNLEARN, *MIXTURES],
    # every variant with methods that score by losses, by gradients and by evidence lower bounds
    **{
        f"{variant}_{name}": [f"diffusion={variant}", *overrides]
        for variant in ("ddpm", "vp", "flow")
        for name, overrides in {
            "mucs": MUCS,
            "das": ["method=das", *GRADIENTS],
            "abu": ABU,
            "guda": ["method=guda_u", *UNLEARN, *ELBO, "remove.groups=[DejaVu Sans,DejaVu Serif,DejaVu Sans Mono]"],
        }.items()
    },
    "ddpm_dpm_solver": ["diffusion=ddpm", "diffusion.sampler=dpm_solver", *MUCS],
    "ddpm_cosine": ["diffusion=ddpm", "diffusion.schedule=cosine", "diffusion.sampler=ancestral", *MUCS],
    "flow_heun": ["diffusion=flow", "diffusion.sampler=heun", "diffusion.levels=logit_normal", *MUCS],
    # every network family
    **{
        f"{model}_{name}": [f"model={model}", *variant, *overrides]
        for model, variant in {
            "unet_tiny": [],
            "unet_diffusers_tiny": ["diffusion=ddpm"],
            "unet_diffusers_conditional_tiny": ["diffusion=ddpm"],
        }.items()
        for name, overrides in {
            "mucs": [*MUCS, "train.steps=20", "train.epoch_steps=20"],
            "das": ["method=das", *GRADIENTS, "train.steps=20", "train.epoch_steps=20"],
        }.items()
    },
    "dropout": ["model.dropout=0.1", "model.frame_channels=[4,4]", "model.frame_strides=[1,1]", *MUCS],
    # what else a training and a generation can be told
    "guided": ["queries.guidance=2.0", "method=pixel"],
    "unconditional": ["dataset.source.condition=none", *MUCS],
    "raw_weights": ["weights=raw", "method=pixel"],
    "uncoupled": ["train.coupled=false", "method=pixel"],
    "best_weights": ["train.selection=best", "method=pixel"],
    "mirrored": ["train.mirror=true", "method=abu", "method.score.mirror=true", *ABU[1:]],
    "health": ["health.samples=8", "method=random", *within("health.extractor", CLASSIFIER)],
    "accuracies": [
        *["method=random", "accuracy=classifier", "accuracy.object_classifier.by=label"],
        *within("accuracy.style_classifier", CLASSIFIER),
    ],
    "measures": ["metrics=[ssim,mse,classifier]", "method=pixel", *within("measures.classifier.extractor", CLASSIFIER)],
}


def run(folder: Path, pattern: str) -> None:
    """Run every case whose name matches and write ``<case>.npz`` for it; those that are there are not run again."""
    from tdattr.cli import main

    failed = []
    folder.mkdir(parents=True, exist_ok=True)
    outputs = folder / "outputs"
    for name, overrides in CASES.items():
        if not fnmatch.fnmatch(name, pattern) or (folder / f"{name}.npz").exists():
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=folder) as place:
            sys.argv = ["tdattr", *SMALL, *overrides, f"paths.outputs={outputs}", f"hydra.run.dir={place}"]
            try:
                main()
            except SystemExit as end:
                if end.code:
                    print(f"{name}: failed", flush=True)
                    failed.append(name)
                    continue
            summary = json.loads((Path(place) / "summary.json").read_text())
        np.savez_compressed(folder / f"{name}.npz", **dict(results(outputs / "artifacts", summary)))
        print(f"{name}: {time.perf_counter() - started:.1f} s", flush=True)
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}")


def results(artifacts: Path, summary: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """What a run found, by name."""
    import pandas as pd
    from safetensors.numpy import load_file

    where = {role: artifacts / name for role, name in summary["artifacts"].items()}
    weights = load_file(where["model"] / "ema.safetensors")
    yield "weights", np.concatenate([weights[name].ravel() for name in sorted(weights)])
    for role in ("queries", "regenerated", "regenerated_random"):
        if role in where:
            yield f"images {role}", load_file(where[role] / "images.safetensors")["images"]
    for role in ("scores", "gold", "ceiling", "reference"):
        if role in where:
            yield f"scores {role}", load_file(where[role] / "scores.safetensors")["scores"]
    for role in ("scores", "evaluation"):
        table = pd.read_csv(where[role] / "queries.csv").drop(columns=list(UNTIMED), errors="ignore")
        for column in table:
            if pd.api.types.is_numeric_dtype(table[column]):
                yield f"table {role}/{column}", table[column].to_numpy(np.float64)
    for key, value in leaves(summary):
        if isinstance(value, (int, float)) and not isinstance(value, bool) and "seconds" not in key:
            yield f"summary {key}", np.array([value], np.float64)


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested dictionaries and lists under dotted names."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if entries is None:
        yield prefix, node
        return
    for key, value in entries:
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))


def difference(old: np.ndarray, new: np.ndarray) -> float:
    """The largest difference as a share of the largest value; 0 where every bit is the same."""
    if old.shape != new.shape:
        return float("inf")
    if old.dtype == new.dtype and old.tobytes() == new.tobytes():
        return 0.0
    old, new = old.astype(np.float64), new.astype(np.float64)
    if (np.isnan(old) != np.isnan(new)).any():
        return float("inf")
    largest = float(np.nanmax(np.abs(old), initial=0.0))
    return float(np.nanmax(np.abs(old - new), initial=0.0)) / (largest or 1.0)


def compare(old: Path, new: Path) -> bool:
    """Print how far every case of ``old`` differs in ``new``; whether all stay within what is allowed."""
    alike = True
    for path in sorted(old.glob("*.npz")):
        if not (new / path.name).exists():
            print(f"{path.stem:<32} missing")
            alike = False
            continue
        first, second = np.load(path), np.load(new / path.name)
        found = {name: difference(first[name], second[name]) for name in first.files if name in second.files}
        missing = [name for name in first.files if name not in second.files]
        gone = [name for name in missing if matching(GONE, path.stem, name)]
        found |= {name: float("inf") for name in missing if name not in gone}
        largest = max(found, key=lambda name: found[name])
        lines = []
        for name, value in found.items():
            allowed = max([TOLERANCE, *(EXCEPTIONS[key][0] for key in matching(EXCEPTIONS, path.stem, name))])
            if value > allowed:
                lines.append(f"    {name}: {value:.2g} (allowed {allowed:.0e})")
        added = len(set(second.files) - set(first.files))
        state = "equal to the last bit" if found[largest] == 0 else f"{found[largest]:.2g} at most ({largest})"
        notes = [f"{added} new"] * bool(added) + [f"{len(gone)} gone"] * bool(gone)
        print(", ".join([f"{path.stem:<32} {state}", *notes]))
        print(*lines, sep="\n", end="\n" if lines else "")
        alike = alike and not lines
    for key, (tolerance, reason) in EXCEPTIONS.items():
        print(f"exception {key}: {tolerance:.0e}, {reason}")
    for key, reason in GONE.items():
        print(f"gone {key}: {reason}")
    return alike


def matching(patterns: Iterable[str], case: str, name: str) -> list[str]:
    """Those of the patterns that an array of a case matches."""
    return [pattern for pattern in patterns if fnmatch.fnmatch(f"{case}/{name}", pattern)]


def main() -> None:
    """The two commands."""
    parser = argparse.ArgumentParser(prog="python -m tests.same_results", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="run the commands with this version's code")
    running.add_argument("folder", type=Path)
    running.add_argument("--only", default="*", help="a pattern of names of cases")
    comparing = commands.add_parser("compare", help="compare what two versions left")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    options = parser.parse_args()
    if options.command == "compare":
        sys.exit(0 if compare(options.old, options.new) else 1)
    os.environ["OMP_NUM_THREADS"] = "1"
    run(options.folder.absolute(), options.only)


if __name__ == "__main__":
    main()
