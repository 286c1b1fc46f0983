"""How artifacts are told of: what one is in words, sizes and times that people read, and text that is safe to print."""

from collections.abc import Iterator, Mapping
from typing import Any

from tdattr.wording import noun

KINDS = {
    "dataset": "dataset",
    "latents": "latents",
    "prompts": "conditions of prompts",
    "pretrain": "training",
    "checkpoint": "imported weights",
    "generate": "images",
    "pictures": "your pictures",
    "sampled": "pictures of a bank",
    "itself": "what stands for queries",
    "plausibility": "losses of your pictures",
    "generate_batch": "images of a batch",
    "query_scores": "scores of a query",
    "attribute": "scores",
    "evaluate": "verdict",
    "losses": "losses, a block",
    "query_losses": "losses of queries",
    "elbo": "lower bounds",
    "fisher": "Fisher information",
    "fisher_round": "Fisher information of a pass",
    "gradients": "gradients, a block",
    "kernel": "kernel of gradients",
    "ekfac": "curvature",
    "influences": "influences",
    "outputs": "derivatives of a query",
    "metagradients": "metagradients",
    "tracin": "TracIn along a training",
    "source": "SOURCE along a training",
    "source_segments": "curvature along a training",
    "counted": "training in which items count less",
    "weighted": "losses after a weighted training",
    "group_tangent": "training with a group counted less, and its derivative",
    "group_slopes": "derivatives along a group",
    "features": "features of images",
    "moments": "moments of features",
    "threshold": "threshold of noise",
    "classifier": "classifier",
    "unlearn": "unlearning",
    "health": "health check",
    "decoded": "decoded training items",
    "prompted_images": "images of styles and objects",
    "accuracy": "accuracies of unlearning",
    "base_vae": "VAE of a base model",
    "base_clip": "CLIP of a base model",
    "base": "base model",
}
DETAILS = (  # of a config, in the order in which they are told
    ("class", "{}"),
    ("method.class", "{}"),
    ("method.objective.class", "{}"),
    ("objective.class", "{}"),
    ("protocol.class", "{}"),
    ("model.class", "{}"),
    ("train.steps", "{} steps"),
    ("unlearn.steps", "{} steps"),
    ("split", "{}"),
    ("query", "query {}"),
    ("queries", "queries {}"),
    ("attributed", "{} queries"),
    ("rows", "rows {}"),
    ("block", "block {}"),
    ("removed", "without {:.8}"),
    ("ids", "items {:.8}"),
    ("model", "of {:.8}"),
    ("seed", "seed {}"),
)
UNITS = ("B", "kB", "MB", "GB", "TB")
AGES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def printable(text: object) -> str:
    """Text in which nothing moves the cursor, changes colours or breaks the line of a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))


def describe(stage: str, config: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """What an artifact is, in words."""
    return printable(", ".join([KINDS.get(stage, stage), *list_details(config, inputs)]))


def list_details(config: Mapping[str, Any], inputs: Mapping[str, Any]) -> Iterator[str]:
    """What tells an artifact from others of its stage."""
    settings = flatten(config)
    settings |= {"model": inputs["model"]} if "model" in inputs else {}
    for key, form in DETAILS:
        value = settings.get(key)
        if value is None:
            continue
        if key.endswith("class"):
            value = str(value).split(" ")[0].rsplit(".", 1)[-1]  # without the package and the code's version
        elif isinstance(value, list):
            value = "-".join(map(str, value))
        yield form.format(value if isinstance(value, int) else str(value))


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    result: dict[str, Any] = {}
    for name, value in config.items():
        nested = isinstance(value, Mapping) and value
        result |= flatten(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return result


def show_bytes(count: float) -> str:
    """``1.2 MB``."""
    for unit in UNITS:
        if count < 999.5 or unit == UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.1f} {unit}"


def show_age(seconds: float) -> str:
    """``3 d``."""
    for size, unit in AGES:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def count(number: int, one: str) -> str:
    """``1 run``, ``1 200 runs``."""
    return f"{number:,}".replace(",", " ") + f" {noun(number, one)}"


def show_work(seconds: float) -> str:
    """``3.2 h``: how long a computation took."""
    for size, unit in AGES[1:]:
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
