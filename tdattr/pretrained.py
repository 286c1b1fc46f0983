"""Where pretrained weights come from: a local path, or a repository of the Hugging Face hub."""

import re
from functools import lru_cache
from pathlib import Path
from shlex import quote

from tdattr.errors import Unavailable, UserError, first_line
from tdattr.files import digest_once, expand

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
CONNECT_SECONDS = 5.0
PICKLES = (".bin", ".ckpt", ".pt", ".pth")


def find_folder(weights: str, files: list[str], setting: str, download: bool) -> Path:
    """The local folder that holds ``files``: ``weights`` itself, or the hub repository of that id.

    A repository is taken from the local cache, or fetched where ``download`` allows it and the hub can be reached.
    ``setting``: the config key by which the user can give another path. Raises UserError where a file is missing.
    """
    path = expand(weights)
    if not path.is_dir():
        if not HUB_ID.fullmatch(weights) or weights.startswith("."):
            raise missing_weights(path, files, f"put them there, or set {setting} to their folder or hub id")
        cached = find_snapshot(weights, files, local=True)
        if cached is None and download and is_hub_reachable():
            cached = find_snapshot(weights, files, local=False)
        if cached is None:
            command = f"hf download {weights} {' '.join(files)}"
            where = f"the local cache of the hub, which cannot be reached, for {weights}" if download else weights
            raise missing_weights(where, files, f"fetch them with: {command}; or set {setting} to their folder")
        path = cached
    missing = [name for name in files if not (path / name).is_file()]
    if missing:
        raise missing_weights(path, missing, f"put them there, or set {setting} to their folder")
    return path


def find_pickle(folder: Path) -> Path | None:
    """The first file of a folder, if there is such a folder, that is a pickle by its name."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return next((path for path in files if path.suffix in PICKLES), None)


def find_file(weights: str, url: str, setting: str) -> Path:
    """A file on this machine. Raises UserError, with the command that fetches it from ``url``, where it is missing."""
    path = expand(weights)
    if not path.is_file():
        command = f"curl -L --create-dirs -o {quote(str(path))} {url}"
        raise missing_weights(path, [], f"fetch it with: {command}; or set {setting} to where it is")
    return path


def check_digest(path: Path, sha256: str, setting: str, digits: int = 64) -> str:
    """The SHA-256 of a file. Raises UserError where it does not begin with ``sha256``, of at least so many digits."""
    if not re.fullmatch(f"[0-9a-fA-F]{{{digits},64}}", sha256):
        raise UserError(f"{setting} is {sha256!r}, which is no SHA-256: give at least {digits} hexadecimal digits.")
    actual = digest_once(path)
    if not actual.startswith(sha256.lower()):
        raise UserError(
            f"{path} has the SHA-256 {actual[:16]}… instead of {sha256[:16]}…: it is damaged or another file, so "
            f"delete it and fetch it again, or set {setting} to its digest if you trust it."
        )
    return actual


def missing_weights(path: Path | str, files: list[str], remedy: str) -> Unavailable:
    """The error that says which weights are missing, and the remedy."""
    what = f"{', '.join(files)} expected in {path}" if files else f"{path} expected"
    return Unavailable(f"Weights are missing, {what}: {remedy}.")


def find_snapshot(hub_id: str, files: list[str], local: bool) -> Path | None:
    """The folder of a hub repository in the local cache, fetched first unless ``local``; None where it is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(hub_id, allow_patterns=files, local_files_only=local))
    except LocalEntryNotFoundError:
        return None
    except HfHubHTTPError as error:
        raise UserError(f"The hub does not give {hub_id} ({first_line(error)}): check the id.") from error
    return path if all((path / name).is_file() for name in files) else None


@lru_cache(maxsize=1)
def is_hub_reachable() -> bool:
    """Whether the hub answers; asked once, because its own retries last half a minute."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=CONNECT_SECONDS)
    except Exception:  # whatever kept it from answering
        return False
    return True
