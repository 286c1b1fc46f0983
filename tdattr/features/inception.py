"""The Inception network of the Fréchet distance (Heusel et al. 2017), as torch-fidelity carries it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from tdattr.features import Embed, Extractor, Images, Setting
from tdattr.image_bytes import quantise
from tdattr.pretrained import check_digest, find_file


@dataclass(frozen=True)
class Inception(Extractor):
    """The 2048 pooled features. The network resizes images itself, as the original did."""

    unaddressed: ClassVar = ("name", "weights", "url")
    packages: ClassVar = ("torch-fidelity",)

    name: str
    weights: str
    url: str
    sha256: str

    def path(self) -> Path:
        """The file. Raises UserError where it is missing."""
        return find_file(self.weights, self.url, f"`weights` of extractor {self.name}")

    def identity(self, setting: Setting) -> Mapping[str, str]:
        """The digest. Raises UserError where it is not the expected one."""
        return {"weights": check_digest(self.path(), self.sha256, f"`sha256` of extractor {self.name}")}

    def load(self, setting: Setting) -> Embed:
        """Loads nothing but tensors from the file."""
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        self.identity(setting)
        torch.load(self.path(), weights_only=True)  # torch-fidelity would run what a pickle contains
        model = FeatureExtractorInceptionV3("inception", ["2048"], str(self.path())).to(setting.device)

        def embed(images: Images) -> torch.Tensor:
            return model(quantise(images).expand(-1, 3, -1, -1))[0]

        return embed
