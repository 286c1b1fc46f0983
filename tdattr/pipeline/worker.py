"""One of the other workers of a run, ``python -m tdattr.pipeline.worker CONFIG``, or a further task of its SLURM job.

It does units of the run's work until all of it is there, and leaves nothing but artifacts.
"""

import logging
import os
import sys
import threading
import traceback

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from tdattr.errors import UserError
from tdattr.files import describe_full
from tdattr.jobs import leave_signals, own_job
from tdattr.metrics.choice import complete_measures
from tdattr.pipeline.accuracy import plan_accuracy
from tdattr.pipeline.check import check
from tdattr.pipeline.evaluate import evaluate
from tdattr.pipeline.open import open_workspace
from tdattr.pipeline.run import EVALUATE, build_until, own_settings, use_threads
from tdattr.pipeline.train import train
from tdattr.pipeline.workers import VISIBLE, choose_devices, visible_devices
from tdattr.pipeline.workspace import Workspace
from tdattr.progress import Bar
from tdattr.search_path import in_sweep

HEAD_START_SECONDS = 60.0  # of the first task, to begin with what it alone shows and logs


def main() -> None:
    """Work on a saved config. What goes wrong is a sentence, or a traceback, on standard error, and status 1."""
    threading.Thread(target=end_with_input, daemon=True).start()
    leave_signals()
    be_quiet()
    config = OmegaConf.load(sys.argv[1])
    assert isinstance(config, DictConfig)
    try:
        with own_job(), own_settings():
            do_share(open_workspace(config))
    except Exception as error:
        print(explain(error), file=sys.stderr)
        sys.exit(1)


def explain(error: Exception) -> str:
    """Why a worker has failed: a sentence where the user can mend it, else a traceback."""
    if (full := describe_full(error)) is not None:
        return full
    return str(error) if isinstance(error, UserError) else "".join(traceback.format_exception(error))


def do_share(ws: Workspace) -> None:
    """Do units of a run's work until all of it is there."""
    use_threads(ws)
    if ws.until == EVALUATE:
        evaluate(ws).get()
        if (accuracy := plan_accuracy(ws)) is not None:
            accuracy.get()
    else:
        build_until(ws)


def end_with_input() -> None:
    """End this process, at once, when standard input ends: the process that started it is gone."""
    while os.read(sys.stdin.fileno(), 1):  # not by sys.stdin, whose lock Python wants when it ends
        pass
    os._exit(1)


def be_quiet() -> None:
    """No bars, and no lines but warnings: the first worker shows how the work goes."""
    Bar.all_hidden = True
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)


def work_as_task(cfg: DictConfig, local_rank: int) -> None:
    """What every task of a SLURM job but the first does: units of the work of the job's config, on a device of its own.

    ``cfg``: as composed for the job, with Hydra's node; ``local_rank``: which of the job's tasks on this machine it is.
    The first task runs the config as that of a job of one task. Raises what a run raises.
    """
    be_quiet()
    HydraConfig.instance().set_config(cfg)
    hydra = HydraConfig.get()
    cfg = cfg.copy()
    with open_dict(cfg):
        del cfg["hydra"]
    if torch.cuda.device_count():
        os.environ[VISIBLE] = ",".join(choose_devices(local_rank, cfg.trainer.devices, visible_devices()))
    with own_job(), own_settings():
        complete_measures(cfg, hydra.runtime.config_sources)
        ws = open_workspace(cfg)
        ws.prepared.leave_to_others(HEAD_START_SECONDS)
        check(ws, hydra.overrides.task, swept=in_sweep(hydra))
        if not evaluate(ws).finished:
            train(ws).leave_to_others(HEAD_START_SECONDS)
        do_share(ws)


if __name__ == "__main__":
    main()
