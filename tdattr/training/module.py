"""The LightningModule that trains a diffusion model and keeps a moving average of its weights."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from tdattr.diffusion import Diffusion
from tdattr.diffusion.batch import Batch
from tdattr.networks import Network
from tdattr.networks.frozen import share_base
from tdattr.seeding import torch_seed
from tdattr.training.config import TrainConfig
from tdattr.training.framework import L


class Pretraining(L.LightningModule):
    """Minimises the mean of the variant's losses with AdamW: linear warm-up, then a constant rate (MUCS A.3) or a
    cosine (GUDA)."""

    def __init__(self, network: Network, diffusion: Diffusion, config: TrainConfig, seed: int, mixed: bool) -> None:
        super().__init__()
        self.network = network
        self.average = AveragedModel(network, multi_avg_fn=partial(approach, decay=config.ema, ramp=config.ema_ramp))
        self.average.requires_grad_(False).eval()
        self.diffusion = diffusion
        self.config = config
        self.seed = seed
        self.step_loss = torch.zeros(())  # the mean of the batch, of the parts of it so far
        self.mixed = mixed  # precision, under which Lightning clips no gradients of a fused optimiser

    @property
    def averaged(self) -> Network:
        """The network with the averaged weights."""
        assert isinstance(self.average.module, Network)
        return self.average.module

    def configure_optimizers(self) -> Any:
        """AdamW over all parameters of the network; its rate is scaled by ``TrainConfig.rate``."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=self.config.learning_rate,
            betas=(self.config.betas[0], self.config.betas[1]),
            eps=self.config.epsilon,
            weight_decay=self.config.weight_decay,
            fused=self.device.type in ("cuda", "cpu") and not (self.config.clip and self.mixed),
        )
        # a lambda: of a bound method LambdaLR would save the attributes in its state
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.config.rate(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Lightning keeps the mode that a module comes in, and has just moved it to its device."""
        self.network.train()
        if self.network.adapted:
            share_base(self.network, self.averaged)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The mean loss of a part of the batch, of which Lightning takes the share; dropout masks are a function of the
        step too, so a resumed run repeats them."""
        part = index % self.config.accumulate
        share = part * self.trainer.world_size + self.global_rank
        torch.manual_seed(torch_seed(self.seed, "train.dropout", self.trainer.global_step, share))
        loss = self.losses(self.network, batch).mean()
        so_far = loss.detach() / self.config.accumulate
        self.step_loss = self.step_loss + so_far if part else so_far
        if self.ends_step(index) and (self.trainer.global_step + 1) % 50 == 0:  # the last is noted of the training
            self.log("train_loss", self.step_loss)
        return loss

    def ends_step(self, index: int) -> bool:
        """Whether the part of that number, counted from the start of the epoch, is the last of its step."""
        return (index + 1) % self.config.accumulate == 0

    def on_train_batch_end(self, outputs: Any, batch: Batch, index: int) -> None:
        """Update the moving average."""
        if self.ends_step(index):
            self.average.update_parameters(self.network)

    def validation_step(self, batch: Batch, index: int) -> None:
        """The loss of the averaged weights on the test split, at noise that is the same in every epoch."""
        losses = self.losses(self.averaged, batch)
        self.log("validation_loss", losses.mean(), batch_size=len(losses), sync_dist=True)

    def validated(self, measured: Mapping[str, Tensor]) -> list[float]:
        """The last loss on the test split, out of what Lightning has ``measured``; nothing before there is one."""
        loss = measured.get("validation_loss")
        return [] if loss is None else [float(loss)]

    def losses(self, network: Network, batch: Batch) -> Tensor:
        """The variant's losses, one per item of the batch, as much as each counts."""
        return weigh(self.diffusion.loss(network, *batch.inputs), batch)


def weigh(losses: Tensor, batch: Batch) -> Tensor:
    """The losses of a batch's items, each multiplied by what it counts."""
    return losses if batch.counts is None else losses * batch.counts


def approach(averages: Any, weights: Any, count: Tensor | int, decay: float, ramp: bool = False) -> None:
    """One step of an exponential moving average after ``count`` others, the first of which copies; a function of its
    own because torch's cannot be sent to a process. ``ramp``: as ``TrainConfig.ema_ramp``."""
    if ramp:
        decay = ramp_up(decay, count)
    torch._foreach_lerp_(averages, weights, 1 - decay)


def ramp_up(decay: float, count: Tensor | int) -> float:
    """The decay of the moving average after so many updates of it (diffusers' EMAModel)."""
    return min(decay, float((1 + count) / (10 + count)))
