"""Reading what stages have stored."""

import numpy as np
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from tdattr.artifacts import Artifact
from tdattr.protocols import Scores


def load_images(generated: Artifact) -> Float[Tensor, "query channel height width"]:
    """The images of a ``generate`` artifact, in [-1, 1]."""
    return load_file(generated.folder / "images.safetensors")["images"]


def load_scores(attribution: Artifact) -> Scores:
    """The scores of an ``attribute`` artifact with the ids of their columns."""
    values = load_file(attribution.folder / "scores.safetensors")["scores"]
    return Scores(values, np.load(attribution.folder / "ids.npy"))
