"""Is F1 any good? The Fréchet distance of images that it generates to the training items."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from tdattr import configs
from tdattr.artifacts import Artifact, provenance
from tdattr.features import Embed, Setting, blocks, described, embedded
from tdattr.metrics.frechet import frechet_distance, moments
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
        "guidance": chain.queries.guidance,
        "weights": chain.cfg.weights,
        "seed": seed,
    }

    def make(folder: Path) -> dict[str, float]:
        split = chain.data.train
        embed = extractor.load(setting)
        everything = moments(vectors(embed, blocks(split, setting.batch_size, "Features of all items"), setting))
        ids = generator(seed, "health.conditions").choice(chain.ids, samples)
        rngs = [generator(seed, "health.sample", number) for number in range(samples)]
        images = chain.sampled(f1, rngs, split.condition(ids), "Generating for the health check")
        drawn = split.images(generator(seed, "health.items").choice(chain.ids, samples))
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


def vectors(embed: Embed, images: Iterator[Tensor], setting: Setting) -> Iterator[Tensor]:
    """The vectors of images that come block by block."""
    for block in images:
        yield from embedded(embed, block, setting)
