"""The console commands, run inside the test's process, and settings that make a whole chain take seconds."""

import contextlib
import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tdattr import cli
from tdattr.pipeline.plausibility import say_uncompared

TINY = [
    "dataset=digits",
    "dataset.recipe.guidance=2.0",
    "model.blocks=1",
    "model.width=16",
    "model.heads=1",
    "diffusion.steps=6",
    "train.steps=12",
    "train.epoch_steps=4",
    "train.batch_size=8",
    "queries.attributed=3",
    "queries.controls=2",
    "trainer.threads=1",
]
MUCS = [
    "method.unlearn.max_steps=3",
    "method.score.pairs=4",
    "method.unlearn.batch_size=10",
    "method.null_loss.batches=2",
]


def tdattr(
    *arguments: str, folder: Path, command: str = "main", check: bool = True, **environment: str
) -> SimpleNamespace:
    """Run a console command in ``folder``, as one that nothing was said before: its ``returncode``, ``stdout`` and
    ``stderr``."""
    say_uncompared.cache_clear()
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["tdattr", *arguments])
        for name in ("TDATTR_OUTPUTS", "TDATTR_DATA", cli.FULL_ERROR):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setitem(os.environ, name, value)
        try:
            getattr(cli, command)()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    assert not check or code == 0, err.getvalue()
    return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())
