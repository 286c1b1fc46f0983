"""Lightning, quiet: importing it sets the levels of its loggers and gives them a handler of their own."""

import logging

import lightning as L

for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.WARNING)

__all__ = ["L"]
