"""How much memory of its device a step takes, beside what is held before it."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from tdattr.planning.measure import LIMIT_SECONDS, Prepare

EVENT = "[memory]"  # of a trace: a piece that is taken, or given back
CPU_TYPE = 0


def peak_of_batch(make: Callable[[], Prepare], batch: int, device: torch.device) -> int | None:
    """The bytes of a step on a batch or, where a step takes longer than the limit, as many more as the largest steps
    within it grow by. None on devices that do not say. ``make``: steps that have not begun, so that all they hold is
    new."""
    if device.type not in ("cpu", "cuda"):
        return None
    before, count, held = 0, 1, 0
    while True:
        started = time.perf_counter()
        last, held = held, peak(make()(count), device)
        if count == batch:
            return held
        if time.perf_counter() - started > LIMIT_SECONDS and before:
            return held + max(0, held - last) * (batch - count) // (count - before)
        before, count = count, min(batch, 2 * count)


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
