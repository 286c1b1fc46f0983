"""Trainings in this process, or in several that it starts: how they end, and that none of them outlives the command."""

import inspect
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.multiprocessing.spawn import ProcessException, ProcessExitedException
from torch.nn.parallel import DistributedDataParallel

from tdattr.errors import UserError
from tdattr.jobs import Interrupted, leave_signals, own_job, spares_ending
from tdattr.progress import Bar
from tdattr.run_status import close_stage, open_stage
from tdattr.training.config import TrainerConfig
from tdattr.training.framework import L
from tdattr.training.quiet import quieten

# what DDP calls it whether every forward pass makes the buffers of the ranks the same: newer and older torch
NEW, OLD = "forward_sync_buffers", "broadcast_buffers"
SYNC_BUFFERS = NEW if NEW in inspect.signature(DistributedDataParallel).parameters else OLD


class Ranks(DDPStrategy):
    """DDP in processes of this machine that the command starts, each with so many CPU ``threads`` (None: its share).
    They end when the command does. ``spared``: SIGTERM is not for them."""

    def __init__(self, threads: int | None, spared: bool) -> None:
        # no buffer of a network changes in a training, and those of an adapted one hold its base
        super().__init__(start_method="spawn", **{SYNC_BUFFERS: False})
        self.threads, self.spared = threads, spared
        self.quiet = Bar.all_hidden

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A rank receives this before Lightning says anything there."""
        super().__setstate__(state)
        quieten()

    def setup_environment(self) -> None:
        """Before a rank trains it watches the command's process and takes over its settings."""
        end_with_parent()
        leave_signals(*([signal.SIGTERM] if self.spared else []))
        Bar.all_hidden = self.quiet
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        super().setup_environment()

    def on_train_start(self) -> None:
        """A rank that is told to end does so at once: Lightning's way waits for the other ones."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN if self.spared else signal.SIG_DFL)

    def kill(self) -> None:
        """End all ranks that are still there, which must not go on without the command."""
        assert self.launcher is not None
        self.launcher.kill(signal.SIGKILL)


class GiveBack(Callback):
    """Gives SIGTERM back to who had it before Lightning, which takes it to end the training: a command, or submitit,
    which lets it pass, as a job that ends by itself is not queued again."""

    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Lightning has just taken it."""
        signal.signal(signal.SIGTERM, self.handler)


def explain(error: ProcessException) -> UserError | None:
    """What to tell the user of the end of a rank, where it is for the user to mend."""
    if isinstance(error, ProcessExitedException) and error.signal_name is not None:
        return UserError(
            f"Process {error.error_index} of the training was ended by {error.signal_name}, perhaps because the memory "
            "was full: the same command resumes from the last checkpoint."
        )
    last = error.msg.strip().splitlines()[-1]  # of an exception in a rank there is only the text of its traceback
    name = f"{UserError.__module__}.{UserError.__qualname__}: "
    return UserError(last.removeprefix(name)) if last.startswith(name) else None


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, however that ended: at once, as it may be waiting
    for another rank, and must write nothing more beside the command's next attempt. (torch has SIGINT sent, which is
    ignored under ``nohup`` and in the background of a script, and which Lightning answers by waiting.)"""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a terminal's Ctrl+C reaches every process; the command speaks


def fit(
    module: L.LightningModule, trainer: TrainerConfig, devices: int, settings: Mapping[str, Any], **data: Any
) -> L.Trainer:
    """Train ``module`` as ``trainer`` says, on so many ``devices``, with further ``settings`` of Lightning's Trainer.

    ``data``: what ``Trainer.fit`` takes besides. Lightning ends an interrupted training with ``sys.exit``, which looks
    like success to whoever started the command: Interrupted is raised instead, or KeyboardInterrupt where no command
    listens to signals. Raises UserError for what the user can mend, in whichever process it happened.
    """
    handler = signal.getsignal(signal.SIGTERM)
    free = handler in (signal.SIG_DFL, None)
    ranks = Ranks(trainer.threads, spares_ending()) if devices > 1 else None
    if ranks is None and not free:
        settings = {**settings, "callbacks": [*settings.get("callbacks", ()), GiveBack(handler)]}
    stage = None if ranks is None else open_stage(f"Training on {devices} devices")  # its bar is in another process
    with own_job():
        fitter = L.Trainer(**trainer.lightning() | dict(settings), devices=devices, strategy=ranks or "auto")
        try:
            fitter.fit(module, **data)
        except SIGTERMException:
            raise Interrupted(signal.SIGTERM) from None
        except SystemExit as end:
            if isinstance(end.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise  # of submitit, which has queued the job again
        except ProcessException as error:
            explained = explain(error)
            if explained is None:
                raise
            raise explained from error
        finally:
            close_stage(stage)
            if ranks is not None:
                ranks.kill()
    return fitter
