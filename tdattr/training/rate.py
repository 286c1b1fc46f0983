"""The learning rate over a training or an unlearning."""

import math

SCHEDULES = ("constant", "cosine")


def rate(step: int, warmup_steps: int, schedule: str, total: int) -> float:
    """The factor at a step: up linearly over ``warmup_steps``, then constant or down a cosine to zero at ``total``."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    share = (step - warmup_steps) / max(1, total - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
