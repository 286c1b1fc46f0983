"""``tdattr-base`` in this process, at a size that takes a second."""

from pathlib import Path

from hydra import compose, initialize_config_dir

from tests.conftest import CONF

SMALL = [
    "dataset=glyph_digits",
    "dataset.source.resolution=8",
    "base.wordings=2",
    "base.vae.channels=[8,8]",
    "base.text.width=8",
    "base.text.layers=1",
    "base.text.heads=2",
    "base.text.patch=4",
    "base.unet.channels=[8,8]",
    "base.unet.heads=2",
    *(f"base.{part}.train.{name}=2" for part in ("vae", "text", "unet") for name in ("steps", "batch_size")),
    "trainer=default",
    "trainer.accelerator=cpu",
]


def run(folder: Path, *overrides: str) -> None:
    """The command with those overrides; everything lies below ``folder``, the pipeline in ``folder / sd_tiny``."""
    from tdattr.pipeline.base import train_base

    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("base", [f"paths.outputs={folder / 'outputs'}", f"paths.weights={folder}", *overrides])
    train_base(cfg)
