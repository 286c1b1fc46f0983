"""What an interrupted build resumes from: files beside those that it makes, deleted once the artifact is sealed and not
a moment before, as the work would be lost with them."""

from pathlib import Path

RESUME = "resume.ckpt"  # a checkpoint of a training
NOTE = "note.safetensors"  # where something stands that goes through a training and back
MARK = ".progress"  # how many rows of arrays are complete
ROWS = "interim"  # the name of arrays that the artifact does not hold
PATTERNS = (f"{RESUME}*", f"{NOTE}*", f"*{MARK}", f"{ROWS}_*.npy")  # a checkpoint that was damaged is beside its place


def find_interim(folder: Path) -> set[Path]:
    """Those in a folder."""
    return {path for pattern in PATTERNS for path in folder.glob(pattern)}


def remove_interim(folder: Path) -> None:
    """Delete them."""
    for path in find_interim(folder):
        path.unlink()
