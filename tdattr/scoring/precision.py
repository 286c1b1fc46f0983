"""In which precision a network is evaluated when losses of training items are compared; the losses are float32."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tdattr.training.config import ScoringPrecision


@contextmanager
def network_precision(precision: ScoringPrecision, device: torch.device) -> Iterator[None]:
    """Matrix products and convolutions are computed in that precision, their results added up in float32. ``tf32`` is
    a mode of NVIDIA's GPUs, and float32 elsewhere; ``bfloat16`` is torch's autocast. What torch was set to before is
    restored."""
    if precision == "bfloat16":
        with torch.autocast(device.type, torch.bfloat16):
            yield
        return
    matrices, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = matrices.fp32_precision, convolutions.fp32_precision
    matrices.fp32_precision = convolutions.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        matrices.fp32_precision, convolutions.fp32_precision = before
