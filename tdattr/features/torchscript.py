"""A network in a TorchScript file, which is a program: it is loaded only where its SHA-256 is the expected one."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from tdattr.features import Embed, Extractor, Setting
from tdattr.features.pixels import IMAGENET_MEAN, IMAGENET_STD, standardise
from tdattr.files import known
from tdattr.pretrained import check_digest, find_file
from tdattr.ranges import Count


@dataclass(frozen=True)
class TorchScript(Extractor):
    """From RGB images of ``size`` x ``size``, standardised as for ImageNet, to vectors: SSCD (Pizzi et al. 2022)."""

    unaddressed: ClassVar = ("name", "weights", "url")

    name: str
    weights: str
    url: str
    sha256: str
    size: Count

    def path(self) -> Path:
        """The file. Raises UserError where it is missing."""
        return find_file(self.weights, self.url, f"`weights` of extractor {self.name}")

    def identity(self, setting: Setting) -> Mapping[str, str]:
        """The digest. Raises UserError where it is not the expected one."""
        return {"weights": check_digest(self.path(), self.sha256, f"`sha256` of extractor {self.name}")}

    def load(self, setting: Setting) -> Embed:
        """Reads the digest again before anything of the file is run."""
        known.clear()
        self.identity(setting)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the file is published in this form and no other
            model = torch.jit.load(str(self.path()), map_location=setting.device).eval()
        return lambda images: model(standardise(images, self.size, IMAGENET_MEAN, IMAGENET_STD, "bilinear"))
