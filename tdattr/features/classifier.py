"""A small network trained here to tell the dataset's own groups apart: deep features where nothing can be fetched."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from tdattr.checkpoints import Checkpoint
from tdattr.costs import Cost, Work
from tdattr.data.groups import find_groups
from tdattr.errors import Unavailable, UserError
from tdattr.features import Embed, Extractor, Images, Setting
from tdattr.features.pixels import resize
from tdattr.ids import Ids, digest_ids
from tdattr.progress import Bar
from tdattr.ranges import Count, PartOrZero, Positive, PositiveOrZero
from tdattr.seeding import generator, torch_seed
from tdattr.store import Plan

log = logging.getLogger(__name__)
FILE = "classifier.safetensors"
REPORT_INTERVAL_STEPS = 20  # between two losses beside the progress bar
LAST_STEPS = 100  # over which the accuracy is taken


@dataclass(frozen=True)
class Classifier(Extractor):
    """The features before the last layer of ``architecture`` (of timm), trained from scratch.

    ``by``: the groups that it learns, a field of the items or a manifest. ``size``: pixels of what it sees. AdamW with
    a one-cycle schedule up to ``learning_rate``; images are shifted by up to ``shift`` of their size, never mirrored.
    """

    unaddressed: ClassVar[tuple[str, ...]] = ("name", "by")  # the groups are in the identity
    packages: ClassVar = ("timm",)
    version: ClassVar[int] = 2  # of the stage

    name: str
    architecture: str
    by: str | None
    size: Count
    steps: Count
    batch_size: Count
    learning_rate: Positive
    weight_decay: PositiveOrZero
    shift: PartOrZero

    def identity(self, setting: Setting) -> Mapping[str, str]:
        """The seed and the items of every group. Raises UserError where there are not at least two groups."""
        import timm

        if not timm.is_model(self.architecture):
            raise UserError(f"timm has no network {self.architecture}: set `architecture` of extractor {self.name}.")
        members = {name: digest_ids(ids) for name, ids in self.groups(setting).items()}
        groups = hashlib.sha256(json.dumps(members).encode()).hexdigest()
        return {"seed": str(setting.seed), "groups": groups}

    def groups(self, setting: Setting) -> Mapping[str, Ids]:
        """The groups that it learns. Raises UserError where there are fewer than two."""
        groups = {} if self.by is None else find_groups(setting.data, self.by)
        if len(groups) < 2:
            raise Unavailable(
                f"The extractor {self.name} learns to tell groups apart, but by={self.by} gives {len(groups)}: set "
                "dataset.groups to a field with two groups or more or to a manifest, or choose another extractor."
            )
        return groups

    def build(self, setting: Setting) -> Any:
        """The network before training, the same for the same seed."""
        import timm

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(setting.seed, "classifier.initialisation"))
            classes, channels = len(self.groups(setting)), setting.data.channels
            return timm.create_model(self.architecture, num_classes=classes, in_chans=channels)

    def artifacts(self, setting: Setting) -> Sequence[Plan]:
        """The trained network."""
        return [self.plan(setting)]

    def plan(self, setting: Setting) -> Plan:
        """The trained network: an artifact of its own."""

        def make(folder: Path) -> Mapping[str, Any]:
            model, accuracy = self.train(setting, folder)
            save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / FILE)
            return {"training_accuracy": accuracy, **self.examine(model, setting)}

        plan = setting.plan("classifier", self.version, self.describe_with_identity(setting), make)
        cost = Cost(Work(steps=self.steps, looks=self.steps * self.batch_size, unsized=True), what=self.name)
        return replace(plan, like=f"{self.architecture} {self.size}", cost=lambda: cost)

    def examine(self, model: Any, setting: Setting) -> Mapping[str, float]:
        """What is found of the trained network, for its provenance."""
        return {}

    def load_trained(self, setting: Setting) -> Any:
        """The trained network, on the device."""
        folder = self.plan(setting).get().folder
        model = self.build(setting)
        model.load_state_dict(load_file(folder / FILE))
        return model.eval().requires_grad_(False).to(setting.device)

    def load(self, setting: Setting) -> Embed:
        """The trained network without its last layer."""
        model = self.load_trained(setting)

        def embed(images: Images) -> Tensor:
            features = model.forward_features(resize(images, self.size, "bilinear"))
            return model.forward_head(features, pre_logits=True).flatten(1)

        return embed

    def start(self, setting: Setting) -> Any:
        """The network that training begins with."""
        return self.build(setting)

    def learned(self, setting: Setting) -> list[Ids]:
        """The items of every group that it is trained on."""
        return list(self.groups(setting).values())

    def train(self, setting: Setting, folder: Path) -> tuple[Any, float]:
        """The network trained on all groups, and its accuracy over the last hundred batches, in [0, 1].

        Resumes from the checkpoint that an interrupted call left in ``folder``.
        """
        groups = self.learned(setting)
        ids, labels = label(groups)
        model = self.start(setting).train().to(setting.device)
        optimiser = torch.optim.AdamW(model.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, self.learning_rate, total_steps=self.steps + 1)
        checkpoint = Checkpoint(folder)
        parts = {"model": model, "optimiser": optimiser, "schedule": schedule}
        done, right = restore(checkpoint, parts)
        bar = Bar(f"Training the classifier of {len(groups)} groups", self.steps, done)
        for step in range(done, self.steps):
            rng = generator(setting.seed, "classifier.batch", step)
            indices = rng.integers(len(ids), size=self.batch_size)
            images = resize(setting.data.train.images(ids[indices]).to(setting.device), self.size, "bilinear")
            most = int(self.shift * self.size)
            across, down = (int(value) for value in rng.integers(-most, most + 1, size=2))
            images = torch.roll(images, (down, across), (2, 3))
            target = torch.from_numpy(labels[indices]).to(setting.device)
            logits = model(images)
            loss = torch.nn.functional.cross_entropy(logits, target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            right.append(float((logits.argmax(1) == target).float().mean()))
            bar.advance()
            if step % REPORT_INTERVAL_STEPS == 0:
                bar.show(f"loss {float(loss.detach()):.3f}")
            if checkpoint.due:
                checkpoint.write({"steps": step + 1, "right": right[-LAST_STEPS:]}, parts)
        bar.close()
        accuracy = float(np.mean(right[-LAST_STEPS:]))
        log.info("The classifier gets %.1f %% of its training items right.", 100 * accuracy)
        return model.cpu(), accuracy


def label(groups: Sequence[Ids]) -> tuple[Ids, Int[np.ndarray, " item"]]:
    """The items of all groups, and the index of the group of each."""
    return np.concatenate(groups), np.repeat(np.arange(len(groups)), [len(members) for members in groups])


def restore(checkpoint: Checkpoint, parts: Mapping[str, Any]) -> tuple[int, list[float]]:
    """The steps that are done, and the share that was right in the last of them; ``parts`` stand where they stood."""
    content = checkpoint.content
    if content is None:
        return 0, []
    checkpoint.restore(parts)
    log.info("The training of the classifier resumes after %d steps.", content["steps"])
    return content["steps"], content["right"]
