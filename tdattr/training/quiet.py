"""What Lightning says about settings that are right here is left out."""

import warnings

MESSAGES = (
    ".*does not have many workers.*",
    ".*LeafSpec.*",
    ".*fused.*",
    ".*lr_scheduler.step.*",
    ".*litmodels.*",
    ".*smaller than the logging interval.*",
    ".*in eval mode at the start.*",
    ".*experiment logs directory.*",
    ".*srun. command is available.*",
    ".*Total length of `list` across ranks is zero.*",  # a test split may be empty
)


def quieten() -> None:
    """Ignore those warnings in this process, until its filters are reset."""
    for message in MESSAGES:
        warnings.filterwarnings("ignore", message)
