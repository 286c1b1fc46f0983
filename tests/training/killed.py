"""Trainings that end as if their process did."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tdattr.training.pretrain import Keeper


class Killed(BaseException):
    """Stands for the end of the process."""


@contextmanager
def killed_at_step(step: int) -> Iterator[None]:
    """The process ends after so many steps."""
    end = Keeper.on_train_batch_end

    def die(self, trainer, *rest):
        end(self, trainer, *rest)
        if trainer.global_step == step:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "on_train_batch_end", die)
        with pytest.raises(Killed):
            yield
