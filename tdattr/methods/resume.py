"""Scores survive a kill query by query."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tdattr.methods import Scored


def resumable(path: Path, compute: Callable[[], Scored]) -> tuple[Float[Tensor, " target"], dict[str, float]]:
    """One query's scores and facts from ``path``, where an interrupted run left them, or computed and left there."""
    if not path.exists():
        started = time.perf_counter()
        scored = compute()
        facts = {"seconds": time.perf_counter() - started, **scored.facts}
        save_file(
            {"scores": scored.scores.float().contiguous()}, path.with_suffix(".new"), {"facts": json.dumps(facts)}
        )
        path.with_suffix(".new").replace(path)
    with safe_open(path, framework="pt") as file:
        return file.get_tensor("scores"), json.loads(file.metadata()["facts"])
