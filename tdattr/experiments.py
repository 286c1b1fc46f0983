"""What makes an experiment of several runs: the settings that they have in common."""

import hashlib
import json
from typing import Any

from tdattr.files import name_file

HOW = ("paths", "logger", "sweep", "until", "workers", "plan")  # how work is done: no result depends on these
# what may differ between the runs of one experiment
VARIED = {"seed", "method", "ablation", "elbo", "trainer", "health", "accuracy", "metrics", "measures", *HOW}
VARIED_OF_PROTOCOL = ("ceiling", "aggregate")
SCORING_PRECISION = "float32"  # which runs had before it was a setting
NAMED = ("dataset", "model", "diffusion", "protocol")  # the nodes whose names a name holds
DIGITS = 6  # of the digest in a name
ITSELF = "itself"  # queries.explained, where every training item is asked what it depends on itself


def experiment_key(config: dict[str, Any]) -> str:
    """What two runs must have in common to stand in one table."""
    kept = {name: value for name, value in config.items() if name not in VARIED}
    protocol = config.get("protocol", {})
    kept["protocol"] = {name: value for name, value in protocol.items() if name not in VARIED_OF_PROTOCOL}
    return json.dumps(kept | {"precision": config["trainer"]["precision"]}, sort_keys=True)


def read_scoring_precision(config: dict[str, Any]) -> str:
    """The precision of a run's scores, in which runs of one experiment may differ."""
    return str(config["trainer"].get("scoring_precision", SCORING_PRECISION))


def name_experiment(config: dict[str, Any]) -> str:
    """A name that a folder can have too: what was run, and a digest of all settings in common."""
    digest = hashlib.sha256(experiment_key(config).encode()).hexdigest()[:DIGITS]
    return f"{name_file('-'.join(config[node]['name'] for node in NAMED))}-{digest}"
