"""What does a step back through a training cost, compared with the step itself?

F1's training of `experiment=metagradient` takes some steps; then, in alternation, it goes on by a few and back through
as many, for 1, 5, 20 and 100 queries at once. The ratio is that of a step back for one query to a step. Below it what
the states on the disk and in memory take.

    python benchmarks/metagradient.py [--queries 1 5 20 100] [--steps 8] [--rounds 3] [--threads 1] [-- model.width=64]
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

import tdattr
from tdattr.metagradients.backward import Cotangents, begin_at_end, step_back
from tdattr.metagradients.state import PARTS
from tdattr.metagradients.step import Step
from tdattr.metagradients.trajectory import Trajectory
from tdattr.methods import Context
from tdattr.methods.weighted_training import open_training
from tdattr.pipeline.attribute import outline_context
from tdattr.seeding import generator, normal

WARM = 3  # steps before the first round
NUMBER_BYTES = 4


def open_context(overrides: list[str], folder: str) -> Context:
    """What the method is given, on a CPU, with its artifacts in a folder."""
    overrides = ["experiment=metagradient", "protocol=none", *overrides, f"paths.outputs={folder}"]
    ws = tdattr.compose([*overrides, "trainer.accelerator=cpu"])
    return replace(outline_context(ws, ws.method), weights=ws.weights)


def compare(context: Context, queries: int, steps: int, rounds: int) -> list[float]:
    """The ratio of every round."""
    training, layout = open_training(context)
    step = Step(training.network, layout, context.diffusion, training.batches.config, context.seed)
    *_, state = training.states(layout, 0, WARM, None)
    outputs = normal(generator(0, "benchmark.metagradient"), queries, layout.size)
    after, ratios = begin_at_end(outputs, len(context.data.train), context.weights), []
    for number in range(rounds + 1):  # the first is not counted
        started = time.process_time()
        *states, _ = training.states(layout, WARM, WARM + steps, state)
        forward = time.process_time() - started
        started = time.process_time()
        for offset in reversed(range(steps)):
            found: Cotangents = step_back(step, training, states[offset], WARM + offset, after, None)
        back = time.process_time() - started
        assert found.items.isfinite().all()
        if number:
            ratios.append(back / forward / queries)
    return ratios


def main() -> None:
    """Parse the arguments and print a line per number of queries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 5, 20, 100])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        context = open_context(options.overrides, folder)
        for queries in options.queries:
            ratios = compare(context, queries, options.steps, options.rounds)
            spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"{queries} queries: step back for one / step {statistics.median(ratios):.2f} {spread}")
        training, layout = open_training(context)
        trajectory = Trajectory(training, layout, Path(folder))
        size = layout.size * len(PARTS) * NUMBER_BYTES / 1e6
        kept, held = len(trajectory.kept_steps), trajectory.stretch
        print(f"{trajectory.steps} states of {size:.1f} MB: {kept} are kept on the disk, {held} at a time in memory")


if __name__ == "__main__":
    main()
