"""tdattr's sweeper, where Hydra looks for plugins; what it does is in tdattr.sweeps, imported when a sweep starts."""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class Combinations(BasicSweeper):
    """Every combination, as Hydra's own; what an earlier run has done is left out unless ``again``."""

    def __init__(self, max_batch_size: int | None, params: dict[str, str] | None, again: bool) -> None:
        super().__init__(max_batch_size, params)
        self.again = again

    def sweep(self, arguments: list[str]) -> Any:
        """Run the jobs that are new."""
        from tdattr.sweeps.sweeper import run

        assert self.config is not None and self.hydra_context is not None and self.launcher is not None
        loader = self.hydra_context.config_loader
        return run(self.config, loader, self.launcher, [*self._parse_config(), *arguments], self.split, self.again)

    def split(self, overrides: list[Any]) -> list[list[list[str]]]:
        """The jobs of each batch."""
        return self.split_arguments(overrides, self.max_batch_size)
