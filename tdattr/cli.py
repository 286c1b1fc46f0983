"""The console commands: compose the config, hand it on; nothing else. Nothing heavy is imported before a run starts."""

import logging
import os
import re
import sys
from collections.abc import Callable

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from tdattr.errors import UserError
from tdattr.files import describe_full
from tdattr.search_path import CONF

log = logging.getLogger(__name__)
FULL_ERROR = "HYDRA_FULL_ERROR"


def main() -> None:
    """``tdattr``: one run, or a sweep with ``-m``."""
    full = wants_full_errors()

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def command(cfg: DictConfig) -> None:
        from tdattr.pipeline.run import run

        say_at_once(run, cfg, full)

    sentences(command)


def prepare() -> None:
    """``tdattr-prepare``: turn a raw dataset into its prepared form."""
    full = wants_full_errors()

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def command(cfg: DictConfig) -> None:
        from tdattr.pipeline.run import prepare_dataset

        say_at_once(prepare_dataset, cfg, full)

    sentences(command)


def groups() -> None:
    """``tdattr-groups``: write a manifest of groups with noise."""
    full = wants_full_errors()

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="noisy_groups")
    def command(cfg: DictConfig) -> None:
        from tdattr.pipeline.run import write_noisy_groups

        say_at_once(write_noisy_groups, cfg, full)

    sentences(command)


def report() -> None:
    """``tdattr-report``: collect finished runs into tables and a page."""

    def command() -> None:
        from tdattr.report.command import run

        run(sys.argv[1:])

    sentences(command)


def wants_full_errors() -> bool:
    """Whether the user has asked for tracebacks (HYDRA_FULL_ERROR=1)."""
    return os.environ.get(FULL_ERROR, "") not in ("0", "")


def say_at_once(stage: Callable[[DictConfig], None], cfg: DictConfig, full: bool) -> None:
    """Run a stage, and end a single run here where the user can mend what went wrong: before an exception that passes
    through it Hydra prints all overrides, which only a sweep needs."""
    try:
        stage(cfg)
    except UserError as error:
        if full or HydraConfig.get().mode != RunMode.RUN:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def sentences(command: Callable[[], None]) -> None:
    """Run ``command``; end with one sentence and status 1 where the user can mend what went wrong."""
    before, wanted_full = os.environ.get(FULL_ERROR, ""), wants_full_errors()
    os.environ[FULL_ERROR] = "1"  # Hydra hands exceptions on instead of printing its own extract
    try:
        command()
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        unnamed = isinstance(error, OSError) and not isinstance(error, HydraException) and not error.filename
        if wanted_full or (unnamed and describe_full(error) is None):
            raise
        print(f"error: {sentence(error)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("Interrupted; the same command resumes from the last checkpoint.", file=sys.stderr)
        sys.exit(130)
    finally:
        os.environ[FULL_ERROR] = before


def sentence(error: Exception) -> str:
    """What to tell the user about an error."""
    if (full := describe_full(error)) is not None:
        return full
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        hint = "" if isinstance(error, FileNotFoundError) else "; choose another folder with paths.outputs=…"
        return f"{error.strerror}: {error.filename}{hint}"
    if misspelt := re.match(r"Could not override '(.+?)'", str(error)):
        return f"There is no setting {misspelt[1]}: mind the spelling (tdattr --cfg job shows all that there are)."
    lines = [line.strip() for line in str(error).split("Config search path")[0].splitlines() if line.strip()]
    return " ".join(line for line in lines if not line.startswith(("full_key:", "object_type=")))
