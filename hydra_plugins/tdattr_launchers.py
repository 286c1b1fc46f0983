"""tdattr's launchers, where Hydra looks for plugins; what they do is in tdattr.sweeps, imported when a sweep starts."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class Basic(BasicLauncher):
    """Hydra's own: one job after another, in the process of the command."""

    def check(self, needs: Sequence[Mapping[str, Any]]) -> None:
        """Each job has the whole machine."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Note what is started, and run it."""
        from tdattr.sweeps.launch import Request, record
        from tdattr.sweeps.record import BASIC

        assert self.config is not None and self.hydra_context is not None
        record(Request(BASIC, self.config, self.hydra_context, job_overrides, initial_job_idx), {})
        return super().launch(job_overrides, initial_job_idx)


class Settled(Launcher):
    """A launcher that keeps its settings and what Hydra tells it until the jobs are known."""

    def __init__(self, **settings: Any) -> None:
        self.settings = OmegaConf.to_container(OmegaConf.create(settings), resolve=True)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """What Hydra tells; a job is a command of its own, so that it needs no function of this process."""
        self.hydra_context, self.config = hydra_context, config


class Local(Settled):
    """Several jobs at once on this machine."""

    def check(self, needs: Sequence[Mapping[str, Any]]) -> None:
        """Whether there is a place for jobs that need this. Raises UserError."""
        from tdattr.sweeps.launch import check
        from tdattr.sweeps.local import LocalSettings
        from tdattr.sweeps.record import LOCAL

        check(LOCAL, LocalSettings, self.settings, self.config, needs)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs, and wait for them."""
        from tdattr.sweeps.launch import Request, launch
        from tdattr.sweeps.local import LocalSettings
        from tdattr.sweeps.record import LOCAL

        request = Request(LOCAL, self.config, self.hydra_context, job_overrides, initial_job_idx)
        return launch(request, LocalSettings, self.settings)


class Slurm(Settled):
    """Jobs of SLURM, by submitit."""

    def check(self, needs: Sequence[Mapping[str, Any]]) -> None:
        """Whether SLURM is there, and can be asked for jobs that need this. Raises UserError."""
        from tdattr.sweeps.launch import check
        from tdattr.sweeps.record import SLURM
        from tdattr.sweeps.slurm import SlurmSettings

        check(SLURM, SlurmSettings, self.settings, self.config, needs)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the jobs, and wait for them."""
        from tdattr.sweeps.launch import Request, launch
        from tdattr.sweeps.record import SLURM
        from tdattr.sweeps.slurm import SlurmSettings

        request = Request(SLURM, self.config, self.hydra_context, job_overrides, initial_job_idx)
        return launch(request, SlurmSettings, self.settings)
