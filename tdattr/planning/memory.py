"""How much memory of its device a step takes, beside what is held before it."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from tdattr.planning.measure import Prepare

EVENT = "[memory]"  # of a trace: a piece that is taken, or given back
CPU_TYPE = 0


def peak_of_batch(prepare: Prepare, batch: int, device: torch.device) -> int | None:
    """The bytes of a step on a batch, by those of steps on one and on two items: what grows with the batch grows in
    proportion. None on devices that do not say."""
    if device.type not in ("cpu", "cuda"):
        return None
    step = prepare(1)
    one = peak(step, device)
    two = peak(prepare(2), device)
    return one + max(0, two - one) * (batch - 1)


def peak(step: Callable[[], Any], device: torch.device) -> int:
    """The most bytes that a step holds at a time, on a CPU or one of NVIDIA's GPUs."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        step()
    with TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        trace.export_chrome_trace(str(path))
        events = [event for event in json.loads(path.read_text())["traceEvents"] if event.get("name") == EVENT]
    held = most = 0
    for event in sorted(events, key=lambda event: event["ts"]):
        if event["args"]["Device Type"] == CPU_TYPE:
            held += event["args"]["Bytes"]
            most = max(most, held)
    return most
