"""End commands at random moments, repeat them, and see that nothing is lost and that results are equal.

    python -m tests.faults --kills 100                   # kill -9 of all of a command's processes
    python -m tests.faults --kills 20 --signal TERM,USR1 # other signals, to the command or to all of its processes
    python -m tests.faults --kills 20 --race             # two of the same command at once, one of which is killed
    python -m tests.faults --kills 20 --full             # a disk that is full
    python -m tests.faults --unsealed                    # every stage once, when only its provenance is missing
    python -m tests.faults --kills 8 --signal KILL,TERM,INT,USR1,USR2 --race --full # everything, in turn
    python -m tests.faults --kills 5 --devices 2 --case guda # the main process of a training on two devices

The commands (`cases.py`) visit every stage of the store. Half of the moments are before a file operation inside a
stage; the others are counted by the clock. `--seed` draws them, but a round depends on how far the one before came, so
the same seed does not give the same faults again.
"""

import argparse
import importlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; a process with threads cannot be forked

import numpy as np

from tests.codecs.vaes import save_vae
from tests.faults.attempts import Broken
from tests.faults.cases import BASE, CASES, DIGITS, VAE, WEIGHTS, stages_of_code
from tests.faults.full import fill
from tests.faults.rounds import Case, Tally, describe, disturb, race, save_weights, unseal

MOST_ROUNDS = 10  # for a fault: a round may complete before its first one comes
Disturb = Callable[[Case, Path, Tally, np.random.Generator, int], None]  # a round with up to so many faults
SLOW = (  # to import, for which no attempt shall wait
    "tdattr.cli",
    "tdattr.pipeline.run",
    "tdattr.training.pretrain",
    "tdattr.unlearning.module",
    "tdattr.loggers.csv",
    "tdattr.pipeline.base",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "sklearn.datasets",
    "timm",
    "torchmetrics.image",
    "torch_fidelity.metric_fid",
)

SMALL_BLOCKS: dict[str, dict[str, float]] = {  # so that small runs have as many blocks and checkpoints as large ones
    "tdattr.checkpoints": {"INTERVAL_SECONDS": 0.0},
    "tdattr.data.preparation": {"BLOCK": 128},
    "tdattr.pipeline.accuracy": {"BLOCK_SAMPLES": 2},
    "tdattr.pipeline.decode": {"BLOCK": 128},
    "tdattr.pipeline.health": {"BLOCK_SAMPLES": 2},
    "tdattr.scoring.loss_table": {"BLOCK_ITEMS": 128},
}


def main() -> None:
    """Run the rounds and print what came of them; status 1 where something was lost, differs or was never hit."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="how many faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", action="append", choices=CASES, help="one of the commands; all without it")
    parser.add_argument("--signal", help="KILL, or other names, with commas between them: TERM,INT,USR1,USR2")
    parser.add_argument("--unsealed", action="store_true", help="of every stage, just before its provenance is written")
    parser.add_argument("--race", action="store_true", help="two of the same command at once")
    parser.add_argument("--full", action="store_true", help="a full disk")
    parser.add_argument("--devices", type=int, default=1, help="of a training; only the main process gets the signal")
    parser.add_argument("--folder", type=Path, help="where everything is kept; a temporary folder without it")
    options = parser.parse_args()
    for name in SLOW:
        importlib.import_module(name)
    for name, constants in SMALL_BLOCKS.items():
        module = vars(importlib.import_module(name))
        assert all(value < module[constant] for constant, value in constants.items()), f"{name} has smaller ones"
        module.update(constants)
    folder = Path(options.folder or tempfile.mkdtemp(prefix="tdattr-faults-")).absolute()
    sys.exit(0 if work(options, folder) else 1)


def work(options: argparse.Namespace, folder: Path) -> bool:
    """Whether nothing was wrong."""
    rng, tally, started = np.random.default_rng(options.seed), Tally(), time.monotonic()
    try:
        names = options.case or [name for name in CASES if options.devices == 1 or name != BASE]
        cases = [prepare_case(name, folder, options.devices) for name in names]
        if options.unsealed:
            for case in cases:
                unseal(case, folder / f"unsealed_{case.name}", tally, rng, 0)
                print(f"{case.name}: {tally.faults} faults, {time.monotonic() - started:.0f} s", flush=True)
        pairs = list(product(cases, choose_rounds(options)))
        for number in range(0 if options.unsealed else MOST_ROUNDS * options.kills):
            if tally.faults >= options.kills:
                break
            case, disturb_it = pairs[number % len(pairs)]
            disturb_it(case, folder / f"round_{number}", tally, rng, options.kills - tally.faults)
            print(f"{case.name}: {tally.faults} of {options.kills}, {time.monotonic() - started:.0f} s", flush=True)
    except Broken as error:
        tally.wrong.append(str(error))
    whole = not (options.case or options.signal or options.race or options.full)
    enough = options.unsealed or options.kills >= len(stages_of_code())
    expected = stages_of_code() if whole and enough else []
    print(*describe(tally, options.seed, expected), sep="\n")
    missed = any(not tally.stages[stage] for stage in expected)
    return not (tally.wrong or tally.losses or missed or (tally.faults < options.kills and not options.unsealed))


def choose_rounds(options: argparse.Namespace) -> list[Disturb]:
    """The kinds of rounds, which take turns: those that are asked for, or kills."""
    rounds: list[Disturb] = [race] * options.race + [fill] * options.full
    if options.signal or not rounds:
        names = (options.signal or "KILL").split(",")
        signals = [signal.Signals[f"SIG{name}"] for name in names]
        rounds.insert(0, partial(disturb, signals=signals, alone=options.devices > 1))
    return rounds


def prepare_case(name: str, folder: Path, devices: int) -> Case:
    """A case, run once undisturbed."""
    several = [f"trainer.devices={devices}"] if devices > 1 else []
    arguments = [*CASES[name], *several]
    if any(WEIGHTS in argument for argument in arguments):
        weights = save_weights([*DIGITS, *several], folder / "weights")
        arguments = [argument.replace(WEIGHTS, str(weights)) for argument in arguments]
    if any(VAE in argument for argument in arguments):
        save_vae(folder / "vae")
        arguments = [argument.replace(VAE, str(folder / "vae")) for argument in arguments]
    case = Case(name, arguments, folder / name, "base" if name == BASE else "main")
    case.run_undisturbed()
    stages = list(dict.fromkeys(built.stage for built in case.built))
    print(f"{name}: {len(case.built)} artifacts in {case.seconds:.1f} s: {', '.join(stages)}", flush=True)
    return case
