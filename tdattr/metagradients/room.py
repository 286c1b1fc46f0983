"""What a training that is differentiated takes of memory and of the disk, and whether there is so much."""

import logging
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from tdattr.costs import NUMBER_BYTES
from tdattr.errors import UserError
from tdattr.metagradients.free_memory import find_free_memory
from tdattr.metagradients.state import PARTS

log = logging.getLogger(__name__)
PER_QUERY = len(PARTS) + 1  # numbers a trained weight: the derivatives by a state, and those it began with
PER_TANGENT = 2 * len(PARTS)  # the same of a state and its derivative
HELD = 3  # how often curvature and derivatives are held at once: to be multiplied, while they are, and afterwards
BACK = "The way back through the training of F1"
FEWER = "choose fewer parameters with method.gradients.parameters"  # a remedy
GIGABYTE = 1e9
CPU = "cpu"


@dataclass(frozen=True)
class Room:
    """Bytes of the device's ``memory``, besides those of the network and of what trains it, of the ``disk``, and of the
    memory of the ``host``, which a CPU has in common with it."""

    memory: int
    disk: int
    host: int = 0


def count_room(weights: int, items: int, steps: int, queries: int, step: int) -> Room:
    """For so many trained weights, items of the split, steps and queries.

    ``step``: the bytes that a step back makes.
    """
    stretch = find_stretch(steps)
    state = len(PARTS) * weights * NUMBER_BYTES
    each = (PER_QUERY * weights + 2 * items) * NUMBER_BYTES
    kept = queries * (len(PARTS) * weights + items) * NUMBER_BYTES  # where the way back stands, and its successor
    memory, states = stretch * state + queries * each + step, math.ceil(steps / stretch) + 1
    return Room(memory, states * state + 2 * kept)


def count_tangents(weights: int, tangents: int, step: int) -> Room:
    """For so many trainings with a derivative, one after the other. Where one stands is kept, and its successor; of
    each that is done the trained weights and their derivative. ``step``: the bytes that a step makes."""
    kept = 2 * 2 * len(PARTS) + 2 * tangents
    return Room(memory=PER_TANGENT * weights * NUMBER_BYTES + step, disk=kept * weights * NUMBER_BYTES)


def count_segments(weights: int, numbers: int, curvature: int = 0, segments: int = 0) -> Room:
    """Where derivatives of queries, of so many numbers together, are compared with items along a training of so many
    weights. Its state is noted, and the successor; where there is curvature, so are the derivatives, which it changes.
    ``curvature``: its bytes, of one of ``segments`` that are kept with their weights."""
    directions, states = numbers * NUMBER_BYTES, 2 * len(PARTS) * weights * NUMBER_BYTES
    noted = states + (2 * directions if curvature else 0)
    disk = noted + segments * (curvature + weights * NUMBER_BYTES)
    return Room(memory=HELD * directions + states + HELD * curvature, disk=disk)


def find_stretch(steps: int) -> int:
    """The steps between two states that are kept: the root of all, rounded up."""
    return math.isqrt(steps - 1) + 1


def fit_queries(
    weights: int, items: int, steps: int, queries: int, step: int, device: torch.device, host: int = 0
) -> int:
    """How many of the queries can go back together in half of the memory that is free, beside so many bytes of the
    host's; at least one. ``step``: the bytes that a step back makes."""
    none, one = (count_room(weights, items, steps, count, step).memory for count in (0, 1))
    free = find_free_memory(device) - (host if device.type == CPU else 0)
    return max(1, min(queries, (free // 2 - none) // (one - none)))


def check_room(
    needed: Room, device: torch.device, root: Path, remedy: str = "lower queries.attributed", what: str = BACK
) -> None:
    """Say what it takes, and whether there is so much. ``root``: the folder of artifacts, which need not be there yet;
    ``remedy``: what helps besides training less. Raises UserError."""
    there = next(path for path in (root, *root.absolute().parents) if path.exists())
    memory, host = (needed.memory + needed.host, 0) if device.type == CPU else (needed.memory, needed.host)
    parts = {f"the memory of {device}": (memory, find_free_memory(device))}
    if host:
        parts["the memory of the host"] = (host, find_free_memory(torch.device(CPU)))
    parts["the disk of paths.outputs"] = (needed.disk, shutil.disk_usage(there).free)
    takes = " and ".join(f"{show(asked)} of {name}" for name, (asked, _) in parts.items())
    log.info("%s takes %s.", what, takes)
    for name, (asked, free) in parts.items():
        if asked > free:
            raise UserError(
                f"{what} takes {show(asked)} of {name}, and {show(free)} are free: {remedy}, or train less "
                "with train.lora.rank or train.trainable."
            )


def show(count: int) -> str:
    """Bytes in gigabytes."""
    return f"{count / GIGABYTE:.2g} GB"
