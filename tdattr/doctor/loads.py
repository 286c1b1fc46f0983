"""Does it load: the settings, the pictures, the network, the weights."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from tdattr.data import groups
from tdattr.diffusion.edm import EDM
from tdattr.doctor.findings import Finding
from tdattr.errors import UserError
from tdattr.networks import Network
from tdattr.pipeline.check import check, check_checkpoint, check_codec, check_null
from tdattr.pipeline.open import open_workspace
from tdattr.pipeline.run import use_threads
from tdattr.pipeline.train import TRAINED, load_network, train
from tdattr.pipeline.workspace import Workspace
from tdattr.seeding import generator
from tdattr.wording import counted

MOST_LOOKED_AT = 256  # items by which the numbers of the pictures are told
FLAT = 0.15  # of the range from black to white: in less of it lie pictures that were read wrongly, as a rule; ours
FAR_SCALE = 1.5  # by which the spread of x may differ from diffusion.sigma_data before it is worth a word; ours


@contextmanager
def collected(findings: list[Finding]) -> Iterator[None]:
    """What is warned of meanwhile is a finding, once."""
    seen: set[str] = set()

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if text not in seen:
                findings.append(Finding("warning", "note", text))
            seen.add(text)

    handler = Collect(logging.WARNING)
    logger = logging.getLogger("tdattr")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def open_run(cfg: DictConfig, given: Iterable[str], findings: list[Finding]) -> Workspace | None:
    """The workspace of a config, with findings on what is in it; None where there is something that no command could
    work with."""
    try:
        ws = open_workspace(cfg)
        use_threads(ws)
        if ws.dataset.text is not None:
            ws.dataset.text.check_network(ws.model)
        check_codec(ws)
        findings += look_at_data(ws)
        network = ws.skeleton()
        check_checkpoint(ws, network)
        check_null(ws, network)
        findings += look_at_network(ws, network)
    except UserError as error:
        findings.append(Finding("loading", "broken", str(error)))
        return None
    try:
        check(ws, given, weights=False)
    except UserError as error:
        findings.append(Finding("settings", "look", f"tdattr would refuse this run: {error}"))
    return ws


def look_at_data(ws: Workspace) -> Iterator[Finding]:
    """How many items there are, and whether their numbers are those of pictures."""
    data = ws.data
    items = counted(len(data.train), "training item") + f" and {len(data.test)} held-out"
    size = f"{data.resolution} x {data.resolution} pixels in {counted(data.channels, 'channel')}"
    parts = [f"{items}, {size}"]
    numbers: dict[str, Any] = {"training": len(data.train), "held_out": len(data.test), "removed": len(ws.removed)}
    if len(ws.removed):
        parts.append(f"of which F1 does not see {len(ws.removed)}")
    if ws.dataset.groups is not None:
        sizes = [len(ids) for ids in groups.find_groups(data, ws.dataset.groups).values()]
        parts.append(f"{counted(len(sizes), 'group')} by {ws.dataset.groups} of {min(sizes)} to {max(sizes)} items")
        numbers["groups"] = len(sizes)
    if data.train.conditions is not None:
        told = data.train.condition(np.arange(len(data.train)))
        assert told is not None
        different = len(torch.unique(told.flatten(1), dim=0))
        parts.append(f"{different} different conditions of {counted(data.condition_size, 'number')}")
        numbers["conditions"] = different
    else:
        parts.append("no conditions")
    yield Finding("pictures", "fine", "; ".join(parts) + ".", numbers=numbers)
    yield look_at_pixels(ws)
    yield look_at_x(ws)


def choose_few(ws: Workspace) -> np.ndarray:
    """Some of the items that F1 sees."""
    rng = generator(ws.seed, "doctor.pictures")
    return np.sort(rng.choice(ws.ids, min(MOST_LOOKED_AT, len(ws.ids)), replace=False))


def look_at_pixels(ws: Workspace) -> Finding:
    """Whether the pictures use the range from black to white."""
    images = ws.data.train.images(choose_few(ws))
    low, high = (float(value) for value in np.quantile(images.numpy(), [0.01, 0.99]))
    share = (high - low) / 2  # images lie in [-1, 1]
    said = f"98 % of the pixels lie in {100 * share:.0f} % of the range from black to white"
    numbers = {"low": low, "high": high}
    if share >= FLAT:
        return Finding("range", "fine", f"{said}.", numbers=numbers)
    remedy = "save the pictures with 8 bits a channel, black as 0 and white as 255"
    return Finding("range", "look", f"{said}: they look empty, or were saved in another range.", remedy, numbers)


def look_at_x(ws: Workspace) -> Finding:
    """Whether the variant takes x for as spread as it is."""
    x = ws.data.train.x(choose_few(ws), False)
    spread = float(x.std())
    said = f"x has the mean {float(x.mean()):.2f} and the standard deviation {spread:.2f}"
    wanted = ws.diffusion.sigma_data if isinstance(ws.diffusion, EDM) else None
    numbers = {"mean": float(x.mean()), "standard_deviation": spread}
    if wanted is None or 1 / FAR_SCALE <= spread / wanted <= FAR_SCALE:
        return Finding("scale", "fine", f"{said}.", numbers=numbers)
    remedy = f"diffusion.sigma_data={spread:.2f}, for a model that is trained anew"
    return Finding("scale", "look", f"{said}, diffusion.sigma_data is {wanted:g}.", remedy, numbers)


def look_at_network(ws: Workspace, network: Network) -> Iterator[Finding]:
    """Its size, and whether it is told what the items are."""
    count = sum(parameter.numel() for parameter in network.parameters())
    what = "an adapter" if ws.adapter else "a part" if network.adapted else "a network"
    said = f"{ws.cfg.model.name}: {what} of {count / 1e6:.2f} M parameters under diffusion={ws.cfg.diffusion.name}"
    yield Finding("network", "fine", f"{said}.", numbers={"parameters": count})
    if ws.data.condition_size and not network.conditional:
        yield Finding("network", "look", "The network sees no conditions, so that those of the items do nothing.")


def load_f1(ws: Workspace, may_train: bool, findings: list[Finding]) -> Network | None:
    """The first model, where it is there or may be trained; what it is, or what is wrong with it, is a finding."""
    plan = train(ws)
    own = plan.stage != TRAINED
    if not own and not plan.finished and not may_train:
        command = "the same command with --train, or tdattr until=generate with the same overrides"
        findings.append(Finding("weights", "open", "The first model is not trained yet.", command))
        return None
    try:
        network = load_network(ws, plan)
    except UserError as error:
        findings.append(Finding("weights", "broken", str(error)))
        return None
    where = "brought along" if own else "trained here"
    findings.append(Finding("weights", "fine", f"The first model is {where} ({ws.weights} weights): {plan.name}."))
    return network
