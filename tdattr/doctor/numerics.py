"""Do losses and gradients change with the batch size, or with the precision of the network?"""

import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.doctor.findings import Finding, Verdict
from tdattr.doctor.sample import Sample
from tdattr.errors import UserError, first_line
from tdattr.metrics.rank_correlation import spearman
from tdattr.networks import Given, Network
from tdattr.scoring.gradients import GradientConfig, Gradients
from tdattr.scoring.pairs import NoiseSet
from tdattr.scoring.projection import ProjectionConfig
from tdattr.training.config import ScoringPrecision
from tdattr.wording import counted

MOST_ITEMS = 16  # whose losses are computed one by one
ROUNDING = 1e-3  # relative differences that float32 may give a loss or a gradient in batches of other sizes; ours
WRONG = 0.02  # differences that are no rounding; ours
SAME_ORDER = 0.99  # rank correlation of items' losses from which a precision orders them alike; ours
MOST_VALUES = 1 << 28  # of gradients that are held, 1 GB in float32; of a larger network those of a part are compared
DRAWS = 4  # of a gradient


def compare_batches(sample: Sample, network: Network) -> Finding:
    """Losses one by one and together."""
    together = compute(sample, network, sample.ws.trainer.scoring_batch)[0]
    alone = compute(sample, network, 1)[0]
    difference = float((np.abs(together - alone) / np.abs(alone)).max())
    said = (
        f"Losses in batches of {sample.ws.trainer.scoring_batch} differ from those one by one by at most "
        f"{difference:.1e} of their size"
    )
    return judge("batch size", difference, said, "losses in batches")


def judge(check: str, difference: float, said: str, what: str) -> Finding:
    """A verdict on a relative difference."""
    numbers = {"difference": difference}
    if difference <= ROUNDING:
        return Finding(check, "fine", f"{said}.", numbers=numbers)
    verdict: Verdict = "look" if difference <= WRONG else "broken"
    remedy = "a network whose layers treat every item by itself (no batch normalisation)"
    why = f"{what} are more than rounded otherwise" if np.isfinite(difference) else "some are not finite"
    return Finding(check, verdict, f"{said}: {why}.", remedy, numbers)


def compare_precisions(sample: Sample, network: Network) -> Iterator[Finding]:
    """Losses in the precisions in which a network may be scored, beside float32."""
    usual, seconds = compute(sample, network, None)
    others: list[ScoringPrecision] = ["bfloat16"]
    if sample.ws.device.type == "cuda":
        others.append("tf32")
    for precision in others:
        other, spent = compute(sample, network, None, precision)
        check = f"precision {precision}"
        difference = float(np.abs(other - usual).mean() / np.abs(usual).mean())
        order = float(spearman(usual.mean(1)[:, None], other.mean(1)[:, None])[0])
        ratio = seconds / spent
        faster = f"{ratio:.1f} times as fast" if ratio >= 1 else f"{1 / ratio:.1f} times as slow"
        said = (
            f"In {precision} losses differ by {100 * difference:.2g} % of their size, the rank correlation of the "
            f"items is {order:.3f}, and they are {faster} here"
        )
        numbers = {"difference": difference, "rank_correlation": order, "times_as_fast": ratio}
        setting = f"trainer.scoring_precision={precision}"
        if order >= SAME_ORDER:
            yield Finding(check, "fine", f"{said}.", setting if ratio > 1 else None, numbers)
        else:
            remedy = "trainer.scoring_precision=float32, the default"
            yield Finding(check, "look", f"{said}: it would mix up which item is which.", remedy, numbers)


def compute(
    sample: Sample, network: Network, batch: int | None, precision: ScoringPrecision = "float32"
) -> tuple[Float[np.ndarray, "item pair"], float]:
    """The losses of some items at all pairs, and the seconds that they took, once warm."""
    count = min(MOST_ITEMS, len(sample.items))
    rows, columns = (grid.ravel() for grid in np.indices((count, len(sample.noise))))
    model = sample.model(network, batch, precision)
    model.cells(sample.items, sample.noise, rows[:1], columns[:1])
    started = time.perf_counter()
    values = model.cells(sample.items, sample.noise, rows, columns, f"Losses ({precision})")
    return values.view(count, -1).double().numpy(), time.perf_counter() - started


def compare_gradients(sample: Sample, network: Network, items: int) -> Finding:
    """Gradients of single items, one by one and together."""
    check = "gradients"
    name = choose_part(network, items)
    x, given = sample.items.take(np.arange(min(items, len(sample.items))))
    x, given = x.to(sample.ws.device), given.to(sample.ws.device)
    try:
        sizes = (len(x) * DRAWS, 1)  # evaluations at a time
        together, alone = (differentiate(sample, network, name, x, given, size) for size in sizes)
    except RuntimeError as error:
        said = f"The gradients of single items cannot be computed ({first_line(error)})."
        return Finding(check, "look", said, "methods that take none: method=mucs, pixel, dino, …")
    lengths = alone.norm(dim=1)
    if not (lengths.isfinite().all() and lengths.all()):
        said = "Gradients of some items are zero or not finite."
        return Finding(check, "broken", said, "other weights, or train.learning_rate lower for a training here")
    difference = float(((together - alone).norm(dim=1) / lengths).max())
    cosines = torch.nn.functional.cosine_similarity(alone[:, None], alone[None], dim=2)
    others = cosines[~torch.eye(len(x), dtype=torch.bool, device=cosines.device)]
    alike = f", those of different items have a mean cosine of {float(others.mean()):.2f}" if len(others) else ""
    part = "all parameters" if name == "all" else f"the part {name}"
    said = (
        f"Gradients of {counted(len(x), 'item')} by {part} in one batch differ from those one by one by at most "
        f"{difference:.1e} of their length{alike}"
    )
    return judge(check, difference, said, "gradients in batches")


def choose_part(network: Network, items: int) -> str:
    """All parameters or, where their gradients take too much memory, the smallest part that can be differentiated."""
    sizes: dict[str, int] = {}
    for part in network.parts:
        with suppress(UserError):  # an adapter changes nothing in some parts
            sizes[part] = sum(network.get_parameter(name).numel() for name in network.parameter_names(part))
    if 2 * items * sizes["all"] <= MOST_VALUES:
        return "all"
    return min((part for part in sizes if sizes[part]), key=sizes.__getitem__)


def differentiate(
    sample: Sample, network: Network, part: str, x: Tensor, given: Given, batch: int
) -> Float[Tensor, "item parameter"]:
    """The gradient of each item's loss."""
    config = GradientConfig("loss", DRAWS, "training", False, part, ProjectionConfig("none", 8, 1))
    steps = torch.linspace(0, len(sample.noise) - 1, min(DRAWS, len(sample.noise))).long()
    noise = NoiseSet(sample.noise.levels[steps], sample.noise.noise[steps]).to(sample.ws.device)
    names = network.parameter_names(part)
    return Gradients(network, sample.ws.diffusion, config, names, noise, batch).of(x, given)
