"""LPIPS (Zhang et al. 2018, arXiv 1801.03924), version 0.1, by its authors' package."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.errors import UserError
from tdattr.features import Setting
from tdattr.features.pixels import resize
from tdattr.metrics.similarity import Compare, Images, Measure, in_batches
from tdattr.pretrained import check_digest, find_file
from tdattr.ranges import Count

DIGITS = 8  # of the SHA-256, as many as torchvision writes into its files' names


@dataclass(frozen=True)
class LPIPS(Measure):
    """1 - LPIPS, so that higher is more alike; 1 = identical.

    ``net``: ``vgg`` or ``alex``. ``weights``: torchvision's file of that network trained on ImageNet, whose SHA-256
    begins with ``sha256``; the linear weights are part of the package. ``size``: pixels that images are resized to.
    """

    unaddressed: ClassVar = ("weights", "url")
    packages: ClassVar = ("lpips",)

    net: Literal["vgg", "alex"]
    weights: str
    url: str
    sha256: str
    size: Count

    def path(self) -> Path:
        """The file of the network. Raises UserError where it is missing."""
        return find_file(self.weights, self.url, "measures.lpips.weights")

    def identity(self, setting: Setting) -> Mapping[str, str]:
        """The digest. Raises UserError where it is not the expected one."""
        return {"weights": check_digest(self.path(), self.sha256, "measures.lpips.sha256", DIGITS)}

    def load(self, setting: Setting) -> Compare:
        """Raises UserError where the file is not that network."""
        model = build(self.net, self.path()).to(setting.device)

        def compare(first: Images, second: Images) -> Float[Tensor, " pair"]:
            first, second = (
                resize(images.to(setting.device), self.size, "bilinear").clamp(-1, 1).expand(-1, 3, -1, -1)
                for images in (first, second)
            )
            with torch.inference_mode():
                return 1 - model(first, second).flatten().float().cpu()

        return in_batches(compare, setting.batch_size)


def build(net: str, path: Path) -> Any:
    """The package's network with torchvision's convolutions from ``path``. Raises UserError where they do not fit.

    The package names the convolutions by their slice and then their index in torchvision's ``features``.
    """
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about the way in which the package calls torchvision
        model: Any = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    content = torch.load(path, map_location="cpu", weights_only=True)
    names = {name.split(".", 1)[1]: name for name in model.net.state_dict()}
    try:
        model.net.load_state_dict({name: content[f"features.{layer}"] for layer, name in names.items()})
    except (KeyError, TypeError, RuntimeError) as error:
        raise UserError(
            f"{path} is not torchvision's {net} network ({error}): delete it and fetch it again."
        ) from error
    return model.eval().requires_grad_(False)
