"""``tdattr-bank`` in this process, at a size that takes seconds."""

from pathlib import Path

from hydra import compose, initialize_config_dir

from tests.conftest import CONF

TRAINED = ["dataset=digits", "train.steps=20", "train.warmup_steps=5", "diffusion.steps=4", "trainer.accelerator=cpu"]
SMALL = [
    *TRAINED,
    "bank.halves.subsets=3",
    "bank.halves.repeats=2",
    "bank.few_removed.subsets=3",
    "bank.few_removed.repeats=1",
    "bank.halves.draws=10",
    "bank.few_removed.draws=10",
    "bank.logo.repeats=2",
    "elbo.draws=1",
    "elbo.stride=100",
]


def run(folder: Path, *overrides: str) -> None:
    """The command with those overrides; everything lies below ``folder``, the bank in ``folder / bank``."""
    from tdattr.bank.build import build_bank

    own = [f"paths.outputs={folder / 'outputs'}", f"protocol.folder={folder / 'bank'}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("build_bank", [*own, *overrides])
    build_bank(cfg)
