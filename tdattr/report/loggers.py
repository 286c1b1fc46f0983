"""What a finished run leaves with its logger: sample grids, table, config. Losses come from Lightning itself."""

import netrc
import os
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from tdattr.report.pictures import grid


def wandb_logger(offline: bool | None, **settings: Any) -> WandbLogger:
    """Lightning's W&B logger; offline where asked, or, where nothing was asked, when there is no key to log in with."""
    if offline is None:
        offline = not has_wandb_key()
    Path(settings["save_dir"]).mkdir(parents=True, exist_ok=True)
    return WandbLogger(offline=offline, **settings)


def has_wandb_key() -> bool:
    """Whether a W&B key is in the environment or in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def finish(
    logger: Any, cfg: DictConfig, summary: dict[str, Any], pictures: dict[str, Float[Tensor, "_n c _h _w"]]
) -> None:
    """Log the config, the final numbers and one grid per entry of ``pictures``, and close the logger."""
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    numbers = {
        f"{role}/{name}/{key}": value
        for role in ("metrics", "control")
        for name, values in summary.get(role, {}).items()
        for key, value in values.items()
    } | {"seconds_per_query": summary["seconds_per_query"]}
    images = {name: grid(batch) for name, batch in pictures.items()}
    if isinstance(logger, WandbLogger):
        logger.experiment.config.update(config, allow_val_change=True)
        logger.log_table("result", columns=list(numbers), data=[list(numbers.values())])
        for name, image in images.items():
            logger.log_image(f"images/{name}", [image])
        logger.experiment.summary.update(numbers)
        logger.experiment.finish()
    elif isinstance(logger, TensorBoardLogger):
        for name, image in images.items():
            logger.experiment.add_image(f"images/{name}", torch.from_numpy(image), dataformats="HWC")
        logger.log_hyperparams({"config": OmegaConf.to_yaml(cfg, resolve=True)}, numbers)
        logger.finalize("success")
    elif isinstance(logger, CSVLogger):
        from PIL import Image

        logger.log_metrics(numbers)
        logger.save()
        for name, image in images.items():
            Image.fromarray(image).save(Path(logger.log_dir) / f"{name}.png")
