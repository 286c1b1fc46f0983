"""What a bank is made of."""

from dataclasses import dataclass

from tdattr.configs import Settings
from tdattr.errors import UserError
from tdattr.methods.logo import LOGO
from tdattr.protocols.lds import LDS
from tdattr.scores import Attributor


@dataclass(frozen=True)
class BankConfig(Settings):
    """The ``bank`` node: two kinds of random subsets that are trained on, by LDS's own settings, and LOGO."""

    halves: LDS
    few_removed: LDS
    logo: Attributor

    def __post_init__(self) -> None:
        if self.halves.draws != self.few_removed.draws or self.halves.share == self.few_removed.share:
            raise UserError("bank.halves and bank.few_removed must have the same draws, and another share.")
        if not isinstance(self.logo, LOGO) or self.logo.repeats < 2:
            raise UserError("bank.logo must be the method logo with repeats of at least 2: half of them are the gold.")
