"""Is F1 any good? The Fréchet distance of images that it generates to the training items."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file
from torch import Tensor

from tdattr import configs
from tdattr.artifacts import Artifact, provenance
from tdattr.data import groups
from tdattr.features import Embed, described, embedded
from tdattr.metrics.frechet import Moments, frechet_distance, moments
from tdattr.report.progress import track
from tdattr.seeding import generator
from tdattr.stages import Chain

log = logging.getLogger(__name__)


def examine(chain: Chain, f1: Artifact) -> dict[str, Any]:
    """The distance of F1's samples, and that of as many training items drawn at random: the least that so many images
    can be expected to reach. FID where the extractor is Inception. Nothing where ``health.samples`` is 0."""
    samples, extractor, setting = chain.health.samples, chain.health.extractor, chain.setting()
    if not samples:
        return {}
    seed = chain.cfg.seed
    config = {
        "extractor": described(extractor) | {"identity": dict(extractor.identity(setting))},
        "diffusion": configs.described(chain.cfg.diffusion),
        "samples": samples,
        "guidance": chain.queries.guidance if chain.data.condition_size else None,
        "weights": chain.cfg.weights,
        "seed": seed,
    }

    def make(folder: Path) -> dict[str, float]:
        split = chain.data.train
        embed = extractor.load(setting)
        everything = items_moments(chain, embed)
        repeated = samples > len(chain.ids)
        ids = generator(seed, "health.conditions").choice(chain.ids, samples, replace=repeated)
        rngs = [generator(seed, "health.sample", number) for number in range(samples)]
        images = chain.sampled(f1, rngs, split.condition(ids), "Generating for the health check")
        drawn = split.images(generator(seed, "health.items").choice(chain.ids, samples, replace=repeated))
        return {
            "frechet_distance": frechet_distance(moments(embedded(embed, images, setting)), everything),
            "frechet_distance_of_items": frechet_distance(moments(embedded(embed, drawn, setting)), everything),
        }

    facts = provenance(chain.store.get("health", 1, config, {"model": f1.address}, make))["facts"]
    log.info(
        "F1's samples: Fréchet distance %.3g to the training items (%s, %d samples; as many training items: %.3g).",
        facts["frechet_distance"], extractor.name, samples, facts["frechet_distance_of_items"],
    )  # fmt: skip
    return {"health": facts | {"extractor": extractor.name, "samples": samples}}


def items_moments(chain: Chain, embed: Embed) -> Moments:
    """The moments of the vectors of the items that F1 was trained on: an artifact that all models share."""
    extractor, setting = chain.health.extractor, chain.setting()

    def vectors() -> Iterator[Tensor]:
        places = range(0, len(chain.ids), setting.batch_size)
        for start in track(places, f"Features ({extractor.name})", len(places)):
            images = chain.data.train.images(chain.ids[start : start + setting.batch_size])
            yield from embedded(embed, images, setting)

    def make(folder: Path) -> None:
        found = moments(vectors())
        save_file({"mean": found.mean, "covariance": found.covariance}, folder / "moments.safetensors")

    config = described(extractor) | {"identity": dict(extractor.identity(setting)), "ids": groups.digest(chain.ids)}
    content = load_file(setting.shared("moments", 1, config, make) / "moments.safetensors")
    return Moments(content["mean"], content["covariance"])
