"""Reading what stages have stored."""

import json

import numpy as np
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from tdattr.artifacts import Artifact
from tdattr.protocols import Scores

GROUPS = "groups.json"  # beside the scores of a method that scores groups: the names of the columns
DAMPINGS = "dampings.json"  # beside the scores of a method that was run with a grid of them


def load_images(generated: Artifact) -> Float[Tensor, "query channel height width"]:
    """The images of a ``generate`` artifact, in [-1, 1]."""
    return load_file(generated.folder / "images.safetensors")["images"]


def load_scores(attribution: Artifact) -> Scores:
    """The scores of an ``attribute`` artifact with the ids of their columns."""
    values = load_file(attribution.folder / "scores.safetensors")["scores"]
    grid = attribution.folder / DAMPINGS
    dampings = json.loads(grid.read_text()) if grid.exists() else None
    names = attribution.folder / GROUPS
    groups = json.loads(names.read_text()) if names.exists() else None
    return Scores(values, np.load(attribution.folder / "ids.npy"), dampings, groups)
