"""Random numbers addressed by what they are for, so that no result depends on the order in which they are drawn."""

import zlib

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def generator(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """A fresh generator for one purpose, for example ``generator(seed, "train.noise", step)``.

    Equal arguments give equal streams on every machine; different ones give independent streams (NumPy's
    ``SeedSequence`` mixes the whole key), as long as a purpose always comes with the same number of indices: a key
    that is shorter by final zeros is the same key. Raises ValueError for a negative seed or index.
    """
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *index])


def torch_seed(seed: int, purpose: str, *index: int) -> int:
    """A seed for torch's own generator under the same addressing, in [0, 2^63)."""
    return int(generator(seed, purpose, *index).integers(2**63))


def normal(rng: np.random.Generator, *shape: int) -> Float[Tensor, "..."]:
    """Standard normal float32 numbers of that shape, drawn on the CPU so that every device sees the same ones."""
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
