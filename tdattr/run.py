"""One run: check everything, go through the chain, leave a summary, and say where it is."""

import json
import logging
import warnings
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from tdattr.artifacts import find
from tdattr.configs import build
from tdattr.evaluation import check, evaluated
from tdattr.loggers import Logger
from tdattr.loggers.none import NoLogger
from tdattr.metrics.choice import complete_measures
from tdattr.results import load_images
from tdattr.stages import Chain

log = logging.getLogger(__name__)
SUMMARY = "summary.json"
CONFIG = "config.yaml"
PICTURES = ("queries", "regenerated", "regenerated_random")  # artifacts whose images a logger shows


def run(cfg: DictConfig) -> None:
    """Run one composed config and write ``config.yaml`` and ``summary.json`` into its run directory."""
    quieten()
    folder = Path(HydraConfig.get().runtime.output_dir)
    complete_measures(cfg)
    saved = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    saved.paths.artifacts = str(Path(cfg.paths.artifacts).absolute())  # so that a report can be made from anywhere
    if saved.dataset.groups is not None and Path(saved.dataset.groups).is_file():
        saved.dataset.groups = str(Path(saved.dataset.groups).absolute())
    OmegaConf.save(saved, folder / CONFIG)
    logger: Logger = build(cfg.logger, "logger") if cfg.get("logger") else NoLogger()
    chain = Chain(cfg)
    check(chain)
    chain.logger = logger.start()
    summary, lines = evaluated(chain)
    write_json(folder / SUMMARY, summary)
    from tdattr.report.pictures import grid  # torchvision takes a second to import

    stored = {role: find(chain.store.root, name) for role, name in summary["artifacts"].items() if role in PICTURES}
    pictures = {role: grid(load_images(artifact)) for role, artifact in stored.items()}
    logger.finish(chain.logger, OmegaConf.to_container(cfg, resolve=True), summary, pictures)  # type: ignore[arg-type]
    for line in lines:
        log.info("%s, %s, %.2f s per query", cfg.method.name, line, summary["seconds_per_query"])
    if not chain.store.built:
        log.info("Every artifact was already there: nothing was computed.")
    log.info("Results: %s", folder / SUMMARY)


def prepare_dataset(cfg: DictConfig) -> None:
    """Prepare the dataset of a composed config and say where it is."""
    quieten()
    chain = Chain(cfg)
    data = chain.data
    done = "Prepared" if chain.store.built else "Already prepared:"
    log.info("%s %s, %d training and %d test items", done, cfg.dataset.name, len(data.train), len(data.test))
    log.info("Results: %s", chain.store.root / next(iter(chain.store.used)))


def write_json(path: Path, content: object) -> None:
    """Written aside and moved into place."""
    path.with_suffix(".new").write_text(json.dumps(content, indent=2))
    path.with_suffix(".new").replace(path)


def quieten() -> None:
    """Leave out what Lightning says about settings that are right here."""
    for message in (
        ".*does not have many workers.*",
        ".*LeafSpec.*",
        ".*fused.*",
        ".*lr_scheduler.step.*",
        ".*litmodels.*",
        ".*smaller than the logging interval.*",
        ".*in eval mode at the start.*",
        ".*experiment logs directory.*",
    ):
        warnings.filterwarnings("ignore", message)
