"""What a bank is made of."""

from dataclasses import dataclass

from tdattr.configs import Settings
from tdattr.errors import UserError
from tdattr.methods.logo import LOGO
from tdattr.protocols.bank_file import name_lds
from tdattr.protocols.lds import LDS
from tdattr.scores import Attributor


@dataclass(frozen=True)
class BankConfig(Settings):
    """The ``bank`` node: two kinds of random subsets that are trained on, by LDS's own settings, and LOGO."""

    halves: LDS
    few_removed: LDS
    logo: Attributor

    def __post_init__(self) -> None:
        if self.halves.draws != self.few_removed.draws:
            raise UserError("bank.halves.draws and bank.few_removed.draws must be the same: F1's losses are for both.")
        if name_lds(self.halves.share) == name_lds(self.few_removed.share):
            raise UserError("bank.halves.share and bank.few_removed.share must differ by a percent or more.")
        if not isinstance(self.logo, LOGO) or self.logo.repeats % 2:
            raise UserError("bank.logo must be the method logo with an even number of repeats: half are the gold.")
