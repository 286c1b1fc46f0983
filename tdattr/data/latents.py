"""The stored latents of a split's items, from which networks see them where x is not the image."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tdattr.data.mapped import Mapped
from tdattr.store import Plan

FILE = "latents_moments.npy"
ToX = Callable[[Tensor, np.random.Generator | None], Tensor]  # from moments to x, drawn or the mode


class Latents:
    """The moments of all items, [item, *moments], for each side of their images: a mirrored latent is not the latent of
    the mirrored image.

    ``plans``: the artifacts by whether they are of the mirrored images, each built when it is first asked for. Another
    process has those that were open when it was started, as memory maps, and builds none. ``to_x``: what networks see
    of moments; ``draws``: whether trainings draw it.
    """

    def __init__(self, plans: Mapping[bool, Plan], to_x: ToX, draws: bool) -> None:
        self.plans, self.to_x, self.draws = plans, to_x, draws
        self.sides: dict[bool, np.ndarray] = {}
        self.process = os.getpid()

    def side(self, mirrored: bool) -> np.ndarray:
        """The moments of one side, memory-mapped. Raises TypeError in another process where they are not open."""
        if mirrored not in self.sides:
            if self.process != os.getpid():
                raise TypeError("latents must be open before another process reads them")
            self.sides[mirrored] = np.load(self.plans[mirrored].get().folder / FILE, mmap_mode="r")
        return self.sides[mirrored]

    def x(
        self,
        ids: Int[np.ndarray, " batch"],
        mirrored: Bool[np.ndarray, " batch"] | bool,
        rng: np.random.Generator | None,
    ) -> Float[Tensor, "batch *x"]:
        """What networks see of the items with these ids. ``rng``: of a training, which may draw it; None: the mode."""
        if isinstance(mirrored, bool):
            moments = np.array(self.side(mirrored)[ids])
        else:
            moments = np.array(self.side(False)[ids])
            if mirrored.any():
                moments[mirrored] = self.side(True)[ids[mirrored]]
        return self.to_x(torch.from_numpy(moments), rng if self.draws else None)

    def __getstate__(self) -> dict[str, Any]:
        sides = {mirrored: Mapped(str(array.filename)) for mirrored, array in self.sides.items()}  # type: ignore[attr-defined]
        return {"sides": sides, "to_x": self.to_x, "draws": self.draws}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.plans, self.to_x, self.draws = {}, state["to_x"], state["draws"]
        self.sides = {mirrored: np.load(side.path, mmap_mode="r") for mirrored, side in state["sides"].items()}
        self.process = -1  # nothing is built here
