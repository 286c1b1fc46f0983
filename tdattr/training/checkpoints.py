"""How Lightning writes the checkpoint of a training."""

import os
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from tdattr.checkpoints import save_checkpoint


class CheckpointBeside(TorchCheckpointIO):
    """Writes a checkpoint beside its target and moves it there in one step. Lightning's own way goes through the
    system's temporary folder, which is often small, and on another disk."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Raises UserError where the disk is full; the former checkpoint is then still there."""
        save_checkpoint(checkpoint, Path(path))
