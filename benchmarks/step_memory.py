"""Does a step back through a training take as much memory as is said before it?

What `method=metagradient` counts for a step back without numbers, and by how much the process grows at most while it
takes one (Linux, glibc).

    python benchmarks/step_memory.py [--queries 4] [--threads 1] [-- dataset=mixtures trainer.metagradient_batch=100]
"""

import argparse
import ctypes
import tempfile
from pathlib import Path

import torch

import tdattr
from tdattr.metagradients.state import PARTS
from tdattr.metagradients.step import Step
from tdattr.methods.step_room import CPU_GAPS, count_back
from tdattr.methods.weighted_training import open_training
from tdattr.pipeline.attribute import outline_context
from tdattr.seeding import generator, normal


def main() -> None:
    """Parse the arguments and print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        overrides = ["experiment=metagradient", "protocol=none", *options.overrides]
        ws = tdattr.compose([*overrides, f"paths.outputs={folder}", "trainer.accelerator=cpu"])
        context = outline_context(ws, ws.method)
        training, layout = open_training(context)
        step = Step(training.network, layout, context.diffusion, training.batches.config, context.seed)
        *_, state = training.states(layout, 0, 1, None)
        after = normal(generator(0, "benchmark.step_memory"), len(PARTS), options.queries, layout.size)
        batch = training.batches[0]
        tensors = count_back(context, options.queries) / CPU_GAPS
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before is not used again
        Path("/proc/self/clear_refs").write_text("5")  # the most that it held is from now on
        before = read_status("VmRSS")
        step.pull(state, batch, 0, after, context.trainer.metagradient_batch)
        grown = read_status("VmHWM") - before
    found = f"tensors of {tensors / 1e6:.0f} MB, grew by {grown / 1e6:.0f} MB"
    print(f"a step back for {options.queries} queries: {found}; a run counts {CPU_GAPS} times the tensors on a CPU")


def read_status(field: str) -> int:
    """Bytes that Linux tells of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


if __name__ == "__main__":
    main()
