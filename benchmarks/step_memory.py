"""Does a step back through a training take as much memory as is said before it?

What `method=metagradient` counts for a step back on the meta device, and by how much the process grows at most while it
takes one (Linux, glibc).

    python benchmarks/step_memory.py [--queries 4] [--threads 1] [-- dataset=mixtures trainer.metagradient_batch=100]
"""

import argparse
import ctypes
import tempfile

import torch
from metagradient import open_context
from small_models import MIB, read_memory, start_memory

from tdattr.metagradients.state import PARTS
from tdattr.metagradients.step import Step
from tdattr.methods.step_room import CPU_GAPS, count_back
from tdattr.methods.weighted_training import open_training
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
        context = open_context(options.overrides, folder)
        training, layout = open_training(context)
        step = Step(training.network, layout, context.diffusion, training.batches.config, context.seed)
        *_, state = training.states(layout, 0, 1, None)
        after = normal(generator(0, "benchmark.step_memory"), len(PARTS), options.queries, layout.size)
        batch = training.batches[0]
        tensors = count_back(context, options.queries) / CPU_GAPS
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before is not used again
        before = start_memory(context.device)
        step.pull(state, batch, 0, after, context.trainer.metagradient_batch)
        grown = (read_memory(context.device) - before) * MIB
    found = f"tensors of {tensors / 1e6:.0f} MB, grew by {grown / 1e6:.0f} MB"
    print(f"a step back for {options.queries} queries: {found}; a run counts {CPU_GAPS} times the tensors on a CPU")


if __name__ == "__main__":
    main()
