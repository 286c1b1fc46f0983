"""DPM-Solver++ of second order, with which Stable Diffusion is sampled: the scheduler of the diffusers library."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.diffusion.samplers import Predict, Watch


def dpm_solver(
    predict: Predict,
    x: Float[Tensor, "batch *shape"],
    timesteps: Sequence[int],
    alpha_bar: Sequence[float],
    watch: Watch | None = None,
) -> Float[Tensor, "batch *shape"]:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, alg. 2) through ``timesteps``, most noise first, to clean.

    ``alpha_bar``: of every timestep. Nothing is clipped, as x may be a latent. Deterministic, and float32 inside.
    """
    scheduler = make_scheduler(timesteps, alpha_bar)
    for t in scheduler.timesteps.tolist():
        clean = predict(x, t)[0].float()
        if watch is not None:
            watch(t, clean)
        x = scheduler.step(clean, t, x).prev_sample
    return x


def make_scheduler(timesteps: Sequence[int], alpha_bar: Sequence[float]) -> Any:
    """diffusers' scheduler, with everything that matters said: order 2, midpoint, first order where it ends, at
    sigma 0, and no other spacing of the noise levels than that of ``timesteps``."""
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler  # seconds to import

    kept = torch.tensor([1.0, *alpha_bar], dtype=torch.float64)
    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=len(alpha_bar),
        trained_betas=(1 - kept[1:] / kept[:-1]).tolist(),
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        prediction_type="sample",
        lower_order_final=True,
        final_sigmas_type="zero",
        thresholding=False,
        use_karras_sigmas=False,
        rescale_betas_zero_snr=alpha_bar[-1] == 0,  # which leaves rescaled betas as they are, but for a last 2^-24
    )
    scheduler.set_timesteps(timesteps=list(timesteps))
    return scheduler
