"""A network trained here to name the style or the object of an image, with its accuracy on items it has not seen."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from tdattr.errors import UserError
from tdattr.features import Images, Setting
from tdattr.features.classifier import Classifier, label
from tdattr.features.pixels import resize
from tdattr.features.timm_model import check_header, create_pretrained, find_weights
from tdattr.files import digest_once
from tdattr.ids import Ids
from tdattr.ranges import Part
from tdattr.seeding import generator, torch_seed
from tdattr.store import provenance

log = logging.getLogger(__name__)
HELD_OUT = "held_out_accuracy"  # in a provenance

Name = Callable[[Images], list[str]]  # from a batch of images to the name of the group of each


@dataclass(frozen=True)
class LabelClassifier(Classifier):
    """A `Classifier` whose last layer is used too.

    ``weights`` of timm that training starts from, for images in [-1, 1]: a hub id, a folder or a file; None: random
    ones. The share ``held_out`` of every group's items is never trained on: where there are two at least one, and never
    all.
    """

    unaddressed: ClassVar = ("name", "by", "weights")
    version: ClassVar = 3

    weights: str | None
    held_out: Part

    def identity(self, setting: Setting) -> Mapping[str, str]:
        """The groups, and the digest of the weights. Raises UserError where no item can be held out."""
        identity = dict(super().identity(setting))
        if not any(len(ids) for ids in self.split(setting)[1]):
            raise UserError(
                f"The classifier {self.name} has one item in every group by {self.by}, so that none can be held out: "
                "choose larger groups."
            )
        if (path := self.find_weights(setting)) is not None:
            identity["weights"] = digest_once(path)
        return identity

    def find_weights(self, setting: Setting) -> Path | None:
        """The file of the weights, where there are some; needs no dataset. Raises UserError where it is missing."""
        return None if self.weights is None else find_weights(self.weights, self.name, setting.download)

    def check_weights(self, setting: Setting) -> None:
        """Raise UserError where the file of the weights is missing or damaged, as far as that is known without reading
        all of it or the dataset."""
        if (path := self.find_weights(setting)) is not None:
            check_header(path, self.architecture)

    def split(self, setting: Setting) -> tuple[list[Ids], list[Ids]]:
        """The items of every group that are trained on, and those that are held out."""
        learned, held_out = [], []
        for index, ids in enumerate(self.groups(setting).values()):
            shuffled = generator(setting.seed, "classifier.held_out", index).permutation(ids)
            count = min(max(1, round(self.held_out * len(ids))), len(ids) - 1)  # one at least stays to learn from
            held_out.append(np.sort(shuffled[:count]))
            learned.append(np.sort(shuffled[count:]))
        return learned, held_out

    def learned(self, setting: Setting) -> list[Ids]:
        """Those that are not held out."""
        return self.split(setting)[0]

    def start(self, setting: Setting) -> Any:
        """The pretrained network with a new last layer, where there are weights."""
        if (path := self.find_weights(setting)) is None:
            return super().start(setting)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(setting.seed, "classifier.initialisation"))
            classes, channels = len(self.groups(setting)), setting.data.channels
            return create_pretrained(self.architecture, path, self.name, num_classes=classes, in_chans=channels)

    def examine(self, model: Any, setting: Setting) -> Mapping[str, float]:
        """The share of the items held out whose group it names."""
        ids, labels = label(self.split(setting)[1])
        model = model.eval().to(setting.device)
        named = [
            self.choose(model, setting.data.train.images(block).to(setting.device))
            for block in np.array_split(ids, -(-len(ids) // setting.batch_size))
        ]
        accuracy = float((np.concatenate(named) == labels).mean())
        log.info("It gets %.1f %% of %d items right that were held out.", 100 * accuracy, len(ids))
        return {HELD_OUT: accuracy}

    def choose(self, model: Any, images: Images) -> Int[np.ndarray, " batch"]:
        """The index of the likeliest group of each image."""
        with torch.inference_mode():
            logits: Tensor = model(resize(images, self.size, "bilinear"))
        return logits.argmax(1).cpu().numpy()

    def load_names(self, setting: Setting) -> Name:
        """The function from images to the names of their groups."""
        model, names = self.load_trained(setting), list(self.groups(setting))
        return lambda images: [names[index] for index in self.choose(model, images.to(setting.device))]

    def accuracy(self, setting: Setting) -> float:
        """That on the items held out, in [0, 1]; the network is trained where it must be."""
        return float(provenance(self.plan(setting).get())["facts"][HELD_OUT])

    def guess(self, setting: Setting) -> float:
        """The share of the items held out that always naming the commonest group among them gets right."""
        counts = [len(ids) for ids in self.split(setting)[1]]
        return max(counts) / sum(counts)
