"""The base model of ``model=sd_tiny``: three artifacts, of which the last is a pipeline, and a copy to use it from."""

import glob
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tdattr.base_model import BaseConfig
from tdattr.configs import build, describe
from tdattr.data.glyphs import Glyphs
from tdattr.errors import UserError
from tdattr.files import expand, sync, sync_all, writing
from tdattr.integrity import PROVENANCE, read_provenance
from tdattr.locks import acquire, name_process
from tdattr.pipeline.open import open_workspace
from tdattr.pipeline.run import own_settings, use_threads
from tdattr.pipeline.workspace import Workspace
from tdattr.store import Artifact, Plan, provenance, share_out

log = logging.getLogger(__name__)
STAGE = "base"
ASIDE = ".unfinished"  # ends the names of folders beside the one that is written, which no other job needs


@own_settings()
def train_base(cfg: DictConfig) -> None:
    """Train the parts that are not there yet, copy the pipeline to ``folder``, and say where it is."""
    base: BaseConfig = build(cfg.base, "base", BaseConfig)
    ws = open_workspace(cfg)
    source = ws.dataset.source
    if not isinstance(source, Glyphs):
        raise UserError(f"dataset={ws.dataset.name} must be one of glyphs, for which the base model has prompts.")
    base.check(source.resolution)
    folder = expand(cfg.folder).absolute()
    check_folder(folder)
    use_threads(ws)
    publish(plan_base(ws, base).get(), folder)
    log.info("Results: %s, for model=sd_tiny", folder)


def plan_base(ws: Workspace, base: BaseConfig) -> Plan:
    """The pipeline's artifact; the VAE's and CLIP's are asked for when it is built."""
    train, test, seed = ws.data.train, ws.data.test, ws.seed
    inputs = {"dataset": ws.data.content}

    def make_vae(folder: Path) -> Mapping[str, Any]:
        from tdattr.base_model.vae import train_vae  # diffusers takes seconds to import

        return train_vae(base.vae, train, test, seed, ws.device, folder)

    def make_clip(folder: Path) -> Mapping[str, Any]:
        from tdattr.base_model.text import train_clip

        return train_clip(base.text, train, test, base.wordings, seed, ws.device, folder)

    told = {"seed": seed, "wordings": base.wordings, "text": describe(base.text)}
    vae = ws.store.plan("base_vae", 1, {"seed": seed, "vae": describe(base.vae)}, inputs, make_vae)
    clip = ws.store.plan("base_clip", 1, told, inputs, make_clip)

    def prepare() -> tuple[Path, Path]:
        text, image = share_out([clip, vae])
        return image.folder, text.folder

    def make(folder: Path, parts: tuple[Path, Path]) -> Mapping[str, Any]:
        from tdattr.base_model.unet import train_unet

        facts = train_unet(base.unet, train, base.wordings, seed, *parts, ws.device, folder)
        return dict(facts) | {part.stage: tell(part) for part in (vae, clip)}

    config = {"seed": seed, "wordings": base.wordings, "unet": describe(base.unet)}
    inputs = inputs | {"vae": vae.address, "clip": clip.address}
    return ws.store.plan(STAGE, 1, config, inputs, make, prepare)


def tell(part: Plan) -> dict[str, Any]:
    """What the folder shall say of a part that is an artifact of its own: its settings, seconds and measurements."""
    content = provenance(part.artifact)
    return {name: content[name] for name in ("config", "seconds", "facts")}


def check_folder(folder: Path) -> None:
    """Raise UserError where something else than a base model would be replaced."""
    if not folder.exists():
        return
    if not (folder / PROVENANCE).is_file() or read_provenance(folder).get("stage") != STAGE:
        raise UserError(f"{folder} is there and not a base model of this command: choose another one with folder=….")


def publish(artifact: Artifact, folder: Path) -> None:
    """Copy an artifact to ``folder``: written aside, moved into place. One that is there already stays. What an attempt
    has left aside that was killed is deleted."""
    if holds(folder, artifact) and not list_left(folder):
        return
    with writing(folder.parent, "folder=…"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lease = acquire(folder.with_name(f".{folder.name}"), lambda: f"another job, which writes {folder}")
        assert lease is not None  # it waits
        try:
            for left in list_left(folder):
                shutil.rmtree(left)
            if not holds(folder, artifact):
                replace_folder(folder, artifact.folder)
        finally:
            lease.release()


def holds(folder: Path, artifact: Artifact) -> bool:
    """Whether a folder is a copy of an artifact."""
    return folder.exists() and read_provenance(folder) == read_provenance(artifact.folder)


def list_left(folder: Path) -> list[Path]:
    """What lies beside a folder of attempts to write it."""
    return list(folder.parent.glob(f".{glob.escape(folder.name)}.*{ASIDE}"))


def replace_folder(folder: Path, source: Path) -> None:
    """Have ``folder`` hold a copy of ``source`` in place of what it may hold, which is not missing for longer than it
    takes to give both another name."""
    process = name_process()
    aside, former = (folder.with_name(f".{folder.name}.{process}.{which}{ASIDE}") for which in ("new", "former"))
    try:
        shutil.copytree(source, aside)
        sync_all([aside, *aside.rglob("*")])
        if folder.exists():
            os.rename(folder, former)
        os.rename(aside, folder)
        sync(folder.parent)
        if former.exists():
            shutil.rmtree(former)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
