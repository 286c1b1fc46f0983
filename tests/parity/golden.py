"""Numbers that the references' own functions gave: ``golden.json``, and how its inputs are drawn and values compared.

An entry says what it holds (``about``), whose function gave it (``reference``), how its inputs are drawn, which
constants were set, and how far a float32 implementation may be off (``tolerance``). Toy networks are
``a·x + b·code + d·sum(c)``.
"""

import json
import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

PATH = Path(__file__).with_name("golden.json")
FIRST_OF_PERMUTATION = re.compile(r"permutation\((\d+)\), first (\d+) of it")


@dataclass(frozen=True)
class Golden:
    """One entry."""

    name: str
    content: dict[str, Any]

    @property
    def constants(self) -> dict[str, Any]:
        """What was set."""
        return self.content.get("constants", {})

    @property
    def outputs(self) -> dict[str, Any]:
        """What the reference gave."""
        return self.content["outputs"]

    @cached_property
    def inputs(self) -> dict[str, np.ndarray]:
        """The drawn arrays by name, float64; what is done to them afterwards stands in ``about``."""
        inputs = self.content.get("inputs", {"seed": 0, "draws": []})
        rng = np.random.default_rng(inputs["seed"])
        return {drawn["name"]: draw(rng, drawn["call"]) for drawn in inputs["draws"]}

    def tensors(self, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
        """The inputs as tensors."""
        return {name: torch.from_numpy(value).to(dtype) for name, value in self.inputs.items()}

    def check(self, output: str, value: Any) -> None:
        """Assert that ``value`` is the entry's ``output``, within its tolerance."""
        tolerance = self.content["tolerance"]
        tolerance = tolerance.get(output, tolerance)
        compare(value, self.outputs[output], tolerance["rel"], tolerance["abs"], f"{self.name}: {output}")


def compare(value: Any, expected: Any, rel: float, absolute: float, what: str) -> None:
    """Assert that numbers, arrays, or mappings of them are equal within |value - expected| <= abs + rel |expected|."""
    if isinstance(expected, dict):
        assert value.keys() == expected.keys(), what
        for key, part in expected.items():
            compare(value[key], part, rel, absolute, f"{what}: {key}")
        return
    if isinstance(expected, str | bool) or (isinstance(expected, list) and any(isinstance(e, str) for e in expected)):
        assert value == expected, what
        return
    actual = np.asarray(value.detach().double().numpy() if isinstance(value, torch.Tensor) else value, dtype=np.float64)
    np.testing.assert_allclose(actual, np.asarray(expected, dtype=np.float64), rtol=rel, atol=absolute, err_msg=what)


def draw(rng: np.random.Generator, call: str) -> np.ndarray:
    """One draw, as an entry writes it: ``standard_normal((2, 3))`` is ``rng.standard_normal((2, 3))``."""
    cut = FIRST_OF_PERMUTATION.fullmatch(call)
    if cut:
        return rng.permutation(int(cut[1]))[: int(cut[2])]
    name, arguments = call.removesuffix(")").split("(", 1)
    return eval(f"draw({arguments})", {"__builtins__": {}}, {"draw": getattr(rng, name)})


@cache
def read() -> dict[str, dict[str, Any]]:
    """The entries by name."""
    return json.loads(PATH.read_text())["entries"]


def golden(name: str) -> Golden:
    """The entry of that name."""
    return Golden(name, read()[name])
