"""How much slower are a training and an unlearning whose run logs to W&B (offline) or TensorBoard?

The same training of `dit_tiny` on `glyph_digits`, and the same scores of MUCS's queries with an unlearning each, under
`logger=none`, `wandb` and `tensorboard` in turn, in rounds of one process, so that a busy machine slows all. A short
training is recorded most often for its length (a hundred times), so that a longer one costs less. Prints the ratios to
`none`, by the clock and by the processor time of this process, and the seconds that a logger takes to start and to end.

    python benchmarks/logging_cost.py [--rounds 5] [--steps 400] [--unlearning 60] [--queries 2] [--profile wandb]
"""

import argparse
import cProfile
import logging
import os
import pstats
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
os.environ["WANDB_SILENT"] = "true"

import tdattr
from tdattr.loggers import Guarded, Logger, Results, RunInfo
from tdattr.loggers.none import NoLogger
from tdattr.loggers.tensorboard import TensorBoard
from tdattr.loggers.wandb import WandB
from tdattr.pipeline.attribute import attribute
from tdattr.pipeline.generate import generate
from tdattr.pipeline.train import train
from tdattr.pipeline.workspace import Workspace
from tdattr.progress import Bar
from tdattr.training.quiet import quieten

NONE = "none"
SLOWEST = 25  # functions that a profile shows
Times = dict[tuple[str, str, str], list[float]]  # by work, logger and clock


def make_logger(name: str, folder: Path) -> Logger:
    """A logger that writes into a folder."""
    if name == "wandb":
        return WandB("tdattr", None, None, name, [], str(folder), True)
    return TensorBoard(str(folder), name) if name == "tensorboard" else NoLogger()


def measure(work: Callable[[], object], times: Times, what: str, name: str) -> None:
    """Note what some work takes."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    times.setdefault((what, name, "clock"), []).append(time.perf_counter() - clock)
    times.setdefault((what, name, "processor"), []).append(time.process_time() - processor)


def run(base: Workspace, name: str, folder: Path, times: Times) -> None:
    """Train and unlearn once under a logger."""
    for stage in base.store.root.iterdir():
        if stage.name != base.prepared.stage:
            shutil.rmtree(stage)
    logger, columns = make_logger(name, folder), {"method": "mucs"}
    info = RunInfo(folder, secrets.token_hex(8), "cost", dict(columns), {})
    started = time.perf_counter()
    recorder = logger.start(info)
    fixed = time.perf_counter() - started
    ws = replace(base, recorder=Guarded(recorder, name))
    measure(train(ws).get, times, "training", name)
    generate(ws, train(ws)).get()
    measure(attribute(ws).get, times, "unlearning", name)
    started = time.perf_counter()
    logger.finish(recorder, Results({}))
    times.setdefault(("start and end", name, "clock"), []).append(fixed + time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400, help="of the training")
    parser.add_argument("--unlearning", type=int, default=60, help="steps of each unlearning")
    parser.add_argument("--queries", type=int, default=2)
    parser.add_argument("--profile", help="a logger: show where the time goes under it")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    quieten()
    Bar.all_hidden = True
    times: Times = {}
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        sizes = [f"train.steps={options.steps}", f"queries.attributed={options.queries}", "queries.controls=0"]
        unlearning = [f"method.unlearn.max_steps={options.unlearning}", "method.unlearn.stop=2"]  # never reached
        scoring = ["method.score.pairs=1", "method.null_loss.batches=2", "trainer.threads=1"]
        always = ["dataset=glyph_digits", "method=mucs", "trainer.accelerator=cpu", f"paths.outputs={root}"]
        base = tdattr.compose([*always, *sizes, *unlearning, *scoring])
        loggers = (NONE, "wandb", "tensorboard")
        for number in range(options.rounds + 1):  # the first round warms up
            for logger in loggers:
                folder = root / f"{number}-{logger}"
                folder.mkdir()
                if logger == options.profile and number:
                    profile.enable()
                run(base, logger, folder, times if number else {})
                profile.disable()
    for what in ("training", "unlearning"):
        for logger in loggers[1:]:
            texts = []
            for clock in ("clock", "processor"):
                ratios = [a / b for a, b in zip(times[what, logger, clock], times[what, NONE, clock], strict=True)]
                texts.append(f"{clock} {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
            print(f"{what:<11} {logger:<12} / none: {', '.join(texts)}")
    for logger in loggers[1:]:
        print(f"{logger}: {statistics.median(times['start and end', logger, 'clock']):.2f} s to start and to end")
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(SLOWEST)


if __name__ == "__main__":
    main()
