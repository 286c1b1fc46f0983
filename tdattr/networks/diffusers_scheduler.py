"""A scheduler saved by diffusers: how the network beside it was trained, and how it is sampled, as ``diffusion=ddpm``.

Every setting that diffusers' class takes is read, is known to matter to nothing here, or is refused by its name.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdattr.errors import UserError
from tdattr.networks.diffusers_json import check_kind, check_kinds, read_defaults, read_json

if TYPE_CHECKING:
    from tdattr.diffusion import Diffusion

ADOPT = "set diffusion=diffusers, which adopts its scheduler"
SAMPLERS = {"DDIMScheduler": "ddim", "DDPMScheduler": "ancestral", "DPMSolverMultistepScheduler": "dpm_solver"}
# whatever their way of sampling is: schedulers of networks that were trained as DDPMs
TRAINED_AS_DDPM = (
    *SAMPLERS,
    "DDIMInverseScheduler",
    "DDIMParallelScheduler",
    "DDPMParallelScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "UniPCMultistepScheduler",
)
SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}  # diffusers' and ours
TRAINING = {  # the values that are implemented of the settings that training reads; None: any
    "num_train_timesteps": None,
    "beta_start": None,
    "beta_end": None,
    "beta_schedule": tuple(SCHEDULES),
    "trained_betas": (None,),
    "prediction_type": ("epsilon", "v_prediction"),
    "rescale_betas_zero_snr": None,
    "use_flow_sigmas": (False, None),  # of a network that was trained by flow matching
    "timestep_type": ("discrete",),
}
UNREAD: dict[str, Any] = {"spacing": "leading", "offset": 0, "end": "clean", "clip": 1.0, "variance": "small"}
FIXED = ("fixed_small", "fixed_small_log", "fixed_large")
OF_THRESHOLDS = {"thresholding": (False,), "dynamic_thresholding_ratio": None, "sample_max_value": None}
SAMPLING: dict[str, dict[str, tuple[Any, ...] | None]] = {  # likewise, of what the sampling of each class reads
    "DDIMScheduler": OF_THRESHOLDS
    | {
        "timestep_spacing": ("leading", "linspace", "trailing"),
        "steps_offset": None,
        "set_alpha_to_one": None,
        "clip_sample": None,
        "clip_sample_range": None,
    },
    "DDPMScheduler": OF_THRESHOLDS
    | {
        "timestep_spacing": None,  # every t is visited
        "steps_offset": (0,),
        "variance_type": FIXED,
        "clip_sample": None,
        "clip_sample_range": None,
    },
    "DPMSolverMultistepScheduler": OF_THRESHOLDS
    | {
        "timestep_spacing": ("linspace",),
        "steps_offset": None,  # linspace has none
        "solver_order": (2,),
        "solver_type": ("midpoint",),
        "algorithm_type": ("dpmsolver++",),
        "lower_order_final": (True,),
        "euler_at_final": (False,),
        "use_karras_sigmas": (False, None),
        "use_exponential_sigmas": (False, None),
        "use_beta_sigmas": (False, None),
        "use_lu_lambdas": (False, None),
        "flow_shift": None,
        "final_sigmas_type": ("zero",),
        "lambda_min_clipped": (-math.inf,),
        "variance_type": (None, *FIXED),
        "use_dynamic_shifting": (False,),
        "time_shift_type": None,
    },
}


@dataclass(frozen=True)
class Scheduler:
    """The file at ``path``: what it says of diffusers' class ``name``, whose defaults stand for the rest."""

    path: Path
    name: str
    said: Mapping[str, Any]

    def training(self) -> dict[str, Any]:
        """How the network was trained, as settings of ``diffusion=ddpm``. Raises UserError for what is not implemented
        there."""
        values = defaults(self.name) | {key: value for key, value in self.said.items() if key in defaults(self.name)}
        self.check({key: value for key, value in values.items() if key in TRAINING}, TRAINING)
        return {
            "timesteps": values["num_train_timesteps"],
            "schedule": SCHEDULES[values["beta_schedule"]],
            "beta_start": values["beta_start"],
            "beta_end": values["beta_end"],
            "prediction": values["prediction_type"],
            "zero_terminal_snr": values.get("rescale_betas_zero_snr", False),
        }

    def sampling(self, sampler: str | None) -> dict[str, Any]:
        """How it is sampled: as the file says, or by another ``sampler``, which takes over what it has in common with
        the file's. Raises UserError for what is not implemented."""
        name = self.name if sampler is None else next(name for name, ours in SAMPLERS.items() if ours == sampler)
        if name not in SAMPLERS:
            raise UserError(
                f"{self.path} is of the class {name}, whose sampler is not implemented: choose another one, such as "
                "diffusion.sampler=ddim or diffusion.sampler=dpm_solver."
            )
        known = SAMPLING[name]
        said = {key: value for key, value in self.said.items() if key in defaults(name) and key not in TRAINING}
        if name == self.name:
            self.check(said, known)
        else:
            said = {key: value for key, value in said.items() if key in known and value in (known[key] or (value,))}
        values = defaults(name) | said
        settings = UNREAD | {"sampler": SAMPLERS[name]}
        if name == "DDIMScheduler":
            settings |= {"spacing": values["timestep_spacing"], "offset": values["steps_offset"]}
            settings |= {"end": "clean" if values["set_alpha_to_one"] else "first"}
        if name != "DPMSolverMultistepScheduler":
            settings |= {"clip": values["clip_sample_range"] if values["clip_sample"] else None}
        if name == "DDPMScheduler":
            settings |= {"variance": "large" if values["variance_type"] == "fixed_large" else "small"}
        return settings

    def check_trained(self, diffusion: "Diffusion") -> None:
        """Raise UserError where a variant of ``diffusion=ddpm`` is not how the network was trained."""
        said, values = self.training(), asdict(diffusion)  # type: ignore[call-overload]
        if values["schedule"] == "cosine" == said["schedule"]:
            said = {key: value for key, value in said.items() if key not in ("beta_start", "beta_end")}
        other = [f"diffusion.{key}={value}" for key, value in said.items() if values[key] != value]
        if other:
            raise UserError(f"The checkpoint was trained with {' '.join(other)} ({self.path}): {ADOPT}.")

    def check(self, values: Mapping[str, Any], known: Mapping[str, tuple[Any, ...] | None]) -> None:
        """Raise UserError for a value that is not implemented: none of those that are ``known`` of its setting, or
        another one than the default of a setting that is not known."""
        for key, value in values.items():
            default = defaults(self.name)[key]
            allowed = known.get(key, (default,))
            if value is not None or (allowed is None and default is not None):
                check_kind(self.path, key, value, default)
            if allowed is not None and value not in allowed:
                raise UserError(
                    f"{self.path} has {key}={value!r}, which is not implemented: "
                    f"{' or '.join(map(repr, allowed))} would be."
                )


def read_scheduler(path: Path) -> Scheduler:
    """The scheduler in a file. Raises UserError where it is none of a network that was trained as a DDPM, has a value
    of the wrong kind, or a setting that no such scheduler reads."""
    content = read_json(path)
    name = content.get("_class_name")
    if name not in TRAINED_AS_DDPM:
        raise UserError(
            f"{path} is of the class {name}, and how networks are trained for it is not implemented: give a network "
            "that was trained as a DDPM, for DDPMScheduler, DDIMScheduler or their like."
        )
    said = {key: value for key, value in content.items() if not key.startswith("_")}
    check_kinds(path, said, defaults(name))
    known: set[str] = set().union(*(defaults(other) for other in TRAINED_AS_DDPM))
    unknown = sorted(said.keys() - known)
    if unknown:
        raise UserError(f"{path} has {unknown[0]}, which no such scheduler of diffusers reads: mind its spelling.")
    return Scheduler(path, name, said)


@cache
def defaults(name: str) -> dict[str, Any]:
    """The settings of one of diffusers' schedulers, each with its default."""
    import diffusers  # takes seconds to import

    return read_defaults(getattr(diffusers, name))
