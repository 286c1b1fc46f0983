"""Do the losses at each noise level look like those of a model that was trained on these pictures?"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdattr.doctor.findings import Finding, Verdict
from tdattr.doctor.intervals import RESAMPLES
from tdattr.doctor.sample import Change, Changed, Errors, OtherErrors, Sample
from tdattr.metrics.agreement import interval
from tdattr.networks import Network
from tdattr.pipeline.train import TRAINED, build_random, train
from tdattr.report.sheet import Cell, Number, Sheet
from tdattr.scoring.cells import TrainingItems
from tdattr.seeding import generator
from tdattr.wording import counted

CLEARLY = 0.9  # times what it is compared with: so far below it losses of a trained network lie, as a rule; ours
BETTER = 0.8  # times what is missed of the pictures as they are: what another preparation of them must reach; ours
BLUE_FIRST = "blue first"
OTHERWISE: dict[str, tuple[str, Change]] = {  # how a model may have seen pictures
    "in [0, 1]": ("on values from 0 to 1, where tdattr gives -1 to 1", lambda x, _: (x + 1) / 2),
    "inverted": ("on pictures with black and white exchanged", lambda x, _: -x),
    BLUE_FIRST: ("on channels in the order blue, green, red", lambda x, _: x.flip(1)),
}
CAPTION = (
    "Share of the noise that is missed: the mean squared difference between predicted and true noise, 1 for a network "
    "that sees none. The levels stand for equal shares of a training, least noise first; log SNR is the logarithm of "
    "the ratio of signal to noise. F1 is given its training items and held-out ones, training items with each other's "
    "conditions (shuffled), and with their pixels in another order (scrambled). The training items are also given to "
    "an untrained network. A guess knows the mean and the variance of their pixels and nothing else."
)


def compare_losses(sample: Sample, network: Network, own: Errors, held_out: OtherErrors) -> tuple[list[Finding], Sheet]:
    """Findings on F1's losses, and the table of all levels. ``own``, ``held_out``: of the items as they are."""
    ws, items = sample.ws, sample.items
    fresh = build_random(ws, ws.seed).eval().requires_grad_(False).to(ws.device)
    columns: dict[str, Float[np.ndarray, " level"]] = {"training": own.mean(0)}
    if len(held_out):
        columns["held out"] = held_out.mean(0)
    findings = []
    shuffled = shuffle_conditions(items) if network.conditional else None
    if shuffled is not None:
        order, other = shuffled
        errors = sample.errors(network, Changed(items, order=order), "Other conditions")
        columns["shuffled"] = errors.mean(0)
        findings.append(judge_conditions(own[other], errors[other]))
    elif ws.data.condition_size and network.conditional:
        said = "All items have the same condition: there is nothing to compare."
        findings.append(Finding("conditions", "open", said))
    scrambled = Changed(items, lambda x, rows: scramble(x, rows, ws.seed))
    columns["scrambled"] = sample.errors(network, scrambled, "Scrambled pictures").mean(0)
    columns["untrained"] = sample.errors(fresh, items, "An untrained network").mean(0)
    columns["guess"] = sample.guess(sample.x)
    findings = [judge_trained(sample, columns), judge_structure(columns), *findings]
    if not ws.codec.latent:
        findings.append(look_for_preparation(sample, network, own))
    return findings, make_sheet(sample, columns)


def make_sheet(sample: Sample, columns: dict[str, Float[np.ndarray, " level"]]) -> Sheet:
    """The table: a row for each level."""
    ratios = sample.ws.diffusion.log_snr(sample.levels).tolist()
    rows: list[dict[str, Cell]] = []
    for index, (level, ratio) in enumerate(zip(sample.levels.tolist(), ratios, strict=True)):
        row: dict[str, Cell] = {"level": Number(level, ".3g"), "log SNR": Number(ratio, ".1f")}
        rows.append(row | {name: Number(float(values[index])) for name, values in columns.items()})
    last: dict[str, Cell] = {"level": "mean", "log SNR": ""}
    rows.append(last | {name: Number(float(values.mean())) for name, values in columns.items()})
    return Sheet("levels", "Noise that is missed at each level", CAPTION, rows)


def judge_trained(sample: Sample, columns: dict[str, Float[np.ndarray, " level"]]) -> Finding:
    """Whether F1 knows more than nothing."""
    means = {name: float(columns[name].mean()) for name in ("training", "untrained", "guess")}
    said = (
        f"F1 misses {means['training']:.3f} of the noise in its training items, an untrained network "
        f"{means['untrained']:.3f}, a guess by the mean and the variance of the pixels {means['guess']:.3f}"
    )
    if not np.isfinite(means["training"]):
        remedy = "other weights: model.path=…, checkpoint=…; of a training here, a lower train.learning_rate"
        return Finding("losses", "broken", "F1's losses are not finite.", remedy, means)
    least = min(value for value in (means["untrained"], means["guess"]) if np.isfinite(value))
    if means["training"] <= CLEARLY * least:
        return Finding("losses", "fine", f"{said}.", numbers=means)
    if train(sample.ws).stage == TRAINED:
        steps = sample.ws.train.count_steps(len(sample.ws.ids))
        remedy = f"train.steps={2 * steps}, or weights=raw where so short a training has no use for an average"
    else:
        remedy = "the weights, variant and preparation that belong together: checkpoint=… or model.path=…, diffusion=…"
        remedy += ", diffusion.prediction=…, codec=…, dataset.source.resolution=…"
    if means["training"] < least:
        return Finding("losses", "look", f"{said}: it has learnt little of these pictures.", remedy, means)
    doubt = "the weights look untrained, or were trained for another preparation of pictures or another variant"
    return Finding("losses", "broken", f"{said}: {doubt}.", remedy, means)


def judge_structure(columns: dict[str, Float[np.ndarray, " level"]]) -> Finding:
    """Whether F1 sees that something is a picture."""
    own, scrambled = (float(columns[name].mean()) for name in ("training", "scrambled"))
    said = f"Where the pixels of its training items are scrambled F1 misses {scrambled:.3f}, in the pictures {own:.3f}"
    numbers = {"training": own, "scrambled": scrambled}
    if own <= CLEARLY * scrambled:
        return Finding("structure", "fine", f"{said}.", numbers=numbers)
    remedy = "weights that were trained on such pictures"
    verdict: Verdict = "look" if own < scrambled else "broken"
    return Finding("structure", verdict, f"{said}: it hardly tells pictures from noise.", remedy, numbers)


def judge_conditions(own: Errors, other: Errors) -> Finding:
    """Whether F1 makes use of what it is told. The rows are items that were told something else."""
    more = other.mean(1) - own.mean(1)
    if not np.isfinite(more).all():
        return Finding("conditions", "open", "F1's losses are not finite, so that there is nothing to compare.")
    ends = interval(more, RESAMPLES)
    assert ends is not None  # two items at least have other conditions, or none has
    low, high = ends
    share = 100 * more.mean() / own.mean()
    said = f"Told another item's condition F1 misses {share:.1f} % more (95 % interval "
    said += f"{100 * low / own.mean():.1f} to {100 * high / own.mean():.1f} %, {counted(len(own), 'item')})"
    numbers = {"percent": float(share), "low": low, "high": high}
    if low > 0:
        return Finding("conditions", "fine", f"{said}.", numbers=numbers)
    order = "conditions in the order in which the model knows them (names of sub-folders are sorted)"
    if high < 0:
        return Finding("conditions", "broken", f"{said}: its own condition is the wrong one.", order, numbers)
    remedy = f"{order}, or dataset.source.condition=none for a model that has none; method=condition says little here"
    return Finding("conditions", "look", f"{said}: it makes no use of conditions that could be seen.", remedy, numbers)


def look_for_preparation(sample: Sample, network: Network, own: Errors) -> Finding:
    """Whether F1 knows the pictures better when they are prepared in another way. Shares of the guess are compared, as
    pictures of less contrast leave less to be missed."""
    check, rows = "preparation", np.arange(len(sample.items))
    usual = float(own.mean() / sample.guess(sample.x).mean())
    ratios: dict[str, float] = {}
    for name, (_, change) in OTHERWISE.items():
        if name == BLUE_FIRST and sample.ws.data.channels != 3:
            continue
        errors = sample.errors(network, Changed(sample.items, change), f"Pictures {name}")
        ratios[name] = float(errors.mean() / sample.guess(change(sample.x, rows)).mean())
    best = min(ratios, key=ratios.__getitem__)
    numbers = {"as they are": usual} | ratios
    if not ratios[best] < min(BETTER * usual, CLEARLY):
        said = "No other range, sign or order of channels suits F1 better."
        return Finding(check, "fine", said, numbers=numbers)
    said = (
        f"F1 misses {usual:.2f} of what a guess misses, and {ratios[best]:.2f} where the pictures are {best}: it seems "
        f"to have been trained {OTHERWISE[best][0]}."
    )
    remedy = "a model that was trained on pictures as tdattr prepares them, or pictures that are saved as it saw them"
    return Finding(check, "look" if usual <= CLEARLY else "broken", said, remedy, numbers)


def shuffle_conditions(
    items: TrainingItems,
) -> tuple[Int[np.ndarray, " item"], Int[np.ndarray, " other"]] | None:
    """Of each item another one whose condition it is told, and the items for which that is a different one; None where
    all have the same."""
    condition = items.take(np.arange(len(items)))[1].condition
    if condition is None:
        return None
    _, kinds = np.unique(condition.flatten(1).numpy(), axis=0, return_inverse=True)
    kinds = kinds.reshape(-1)
    most = int(np.bincount(kinds).max())
    if most == len(items):
        return None
    ranked = np.argsort(kinds, kind="stable")
    order = np.empty_like(ranked)
    order[ranked] = np.roll(ranked, most)
    return order, np.flatnonzero(kinds[order] != kinds)


def scramble(x: Float[Tensor, "item *x"], rows: Int[np.ndarray, " item"], seed: int) -> Float[Tensor, "item *x"]:
    """The same values of each item in another order of its pixels: noise of the same mean and variance."""
    flat = x.flatten(2)
    orders = [generator(seed, "doctor.scrambled", int(row)).permutation(flat.shape[2]) for row in rows]
    return torch.stack([item[:, torch.from_numpy(order)] for item, order in zip(flat, orders, strict=True)]).view_as(x)
