"""In which precision a network is evaluated when losses of training items are compared; the losses are float32."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tdattr.training.config import ScoringPrecision


@contextmanager
def network_precision(precision: ScoringPrecision, device: torch.device) -> Iterator[None]:
    """Matrix products and convolutions are computed in that precision, their results added up in float32. ``tf32`` is
    a mode of NVIDIA's GPUs, and float32 elsewhere; ``bfloat16`` is torch's autocast."""
    if precision == "bfloat16":
        with torch.autocast(device.type, torch.bfloat16):
            yield
        return
    matrices, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matrices.allow_tf32, convolutions.allow_tf32
    matrices.allow_tf32 = convolutions.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        matrices.allow_tf32, convolutions.allow_tf32 = before
