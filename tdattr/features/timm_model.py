"""Any pretrained image network of timm; DINOv2 (Oquab et al. 2024) by default."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from safetensors import SafetensorError, safe_open

from tdattr.errors import UserError, first_line
from tdattr.features import Embed, Extractor, Setting
from tdattr.features.pixels import standardise
from tdattr.files import digest_once, expand
from tdattr.pretrained import find_folder
from tdattr.ranges import Count

FILE = "model.safetensors"


@dataclass(frozen=True)
class Timm(Extractor):
    """The pooled features of ``architecture``, before its classifier.

    ``weights``: a hub id, a folder that holds ``model.safetensors``, or a .safetensors or .pth file. ``size``: pixels
    of the images that it sees, which are resized by ``interpolation`` with antialiasing. ``arguments``: more for
    ``timm.create_model``; a transformer needs its ``img_size``.
    """

    unaddressed: ClassVar = ("name", "weights")
    packages: ClassVar = ("timm",)

    name: str
    architecture: str
    weights: str
    size: Count
    interpolation: Literal["bilinear", "bicubic"]
    arguments: dict[str, Any]

    def identity(self, setting: Setting) -> Mapping[str, str]:
        """The digest of the weights."""
        return {"weights": digest_once(find_weights(self.weights, self.name, setting.download))}

    def load(self, setting: Setting) -> Embed:
        """Raises UserError where the weights are not those of the architecture."""
        path = find_weights(self.weights, self.name, setting.download)
        model = create_pretrained(self.architecture, path, self.name, num_classes=0, **self.arguments)
        model = model.eval().requires_grad_(False).to(setting.device)
        mean, std = model.pretrained_cfg["mean"], model.pretrained_cfg["std"]
        return lambda images: model(standardise(images, self.size, mean, std, self.interpolation))


def find_weights(weights: str, extractor: str, download: bool) -> Path:
    """The file of an extractor's weights, of which this is a hub id, a folder or the file. Raises UserError where it is
    missing."""
    path = expand(weights)
    if path.is_file():
        return path
    return find_folder(weights, [FILE], f"`weights` of extractor {extractor}", download) / FILE


def check_header(path: Path, architecture: str) -> None:
    """Raise UserError where a .safetensors file does not begin as one, or ends too early."""
    if path.suffix != ".safetensors":
        return
    try:
        with safe_open(path, framework="pt"):
            pass
    except (OSError, SafetensorError) as error:
        raise no_weights(path, architecture, error) from error


def create_pretrained(architecture: str, path: Path, extractor: str, **arguments: Any) -> Any:
    """A network of timm with the weights in a file; a last layer of another size than theirs is drawn anew. Raises
    UserError where there is no such network, and where the weights are not its."""
    import timm

    if not timm.is_model(architecture):
        raise UserError(f"timm has no network {architecture}: set `architecture` of extractor {extractor}.")
    try:
        return timm.create_model(architecture, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **arguments)
    except Exception as error:  # readers of damaged files raise all sorts of things
        raise no_weights(path, architecture, error) from error


def no_weights(path: Path, architecture: str, error: Exception) -> UserError:
    """What there is to say of a file from which no weights can be read."""
    return UserError(f"{path} holds no weights of {architecture} ({first_line(error)}): fetch it again.")
