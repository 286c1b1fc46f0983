"""Where pretrained weights come from: a local path, or a repository of the Hugging Face hub."""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from shlex import quote

from tdattr.errors import Unavailable, UserError, first_line
from tdattr.files import digest_once, expand

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
CONNECT_SECONDS = 5.0
PICKLES = (".bin", ".ckpt", ".pt", ".pth")
BASE_MODEL = "sd_tiny"  # the folder that tdattr-base makes (conf/base.yaml): never a hub id


def find_folder(
    weights: str,
    files: list[str],
    setting: str,
    download: bool,
    optional: Sequence[str] = (),
    others: Sequence[str] = (),
) -> Path:
    """The local folder that holds ``files``: ``weights`` itself, or the hub repository of that id.

    A repository is taken from the local cache, or fetched where ``download`` allows it and the hub can be reached.
    ``setting``: the config key by which the user can give another path. ``optional``: what is fetched with the files
    where it is there. ``others``: what a user who fetches the files is going to need besides. Raises UserError where a
    file is missing.
    """
    path = expand(weights)
    if not path.is_dir():
        if not is_hub_id(weights):
            raise missing_folder(path, files, setting)
        cached = find_snapshot(weights, files, local=True)
        reachable = cached is None and download and is_hub_reachable()
        if reachable:
            cached = find_snapshot(weights, [*files, *optional], local=False, needed=files)
        if cached is None and reachable:
            raise missing_weights(f"{weights} on the hub, which lacks some", files, f"set {setting} to another")
        if cached is None:
            files = [*files, *others]
            command = f"hf download {weights} {' '.join(files)}"
            where = f"the local cache of the hub, which cannot be reached, for {weights}" if download else weights
            raise missing_weights(where, files, f"fetch them with: {command}; or set {setting} to their folder")
        path = cached
    missing = [name for name in files if not (path / name).is_file()]
    if missing:
        raise missing_weights(path, missing, f"put them there, or set {setting} to their folder")
    return path


def is_hub_id(weights: str) -> bool:
    """Whether weights that are no folder here may be those of a hub repository."""
    return bool(HUB_ID.fullmatch(weights)) and not weights.startswith(".") and not is_base_model(Path(weights))


def is_base_model(path: Path) -> bool:
    """Whether a folder is by its name the one that tdattr-base makes."""
    return path.name == BASE_MODEL


def missing_folder(path: Path, files: list[str], setting: str) -> Unavailable:
    """The error that says that a folder of weights is missing, and what makes it."""
    base = next(filter(is_base_model, (path, path.parent)), None)
    if base is None:
        return missing_weights(path, files, f"put them there, or set {setting} to their folder or hub id")
    command = f"tdattr-base folder={quote(str(base))}"
    return Unavailable(f"The base model {base} is not there yet: build it with {command}, or set {setting} to another.")


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


def find_snapshot(hub_id: str, files: list[str], local: bool, needed: list[str] | None = None) -> Path | None:
    """The folder of a hub repository in the local cache, fetched first unless ``local``; None where it, or one of the
    ``needed`` files, is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(hub_id, allow_patterns=files, local_files_only=local))
    except LocalEntryNotFoundError:
        return None
    except HfHubHTTPError as error:
        raise UserError(
            f"The hub does not give {hub_id}, which is no folder here either ({first_line(error)}): mend the id, or "
            "the path."
        ) from error
    return path if all((path / name).is_file() for name in needed or files) else None


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
