"""What ``tdattr-doctor`` takes, and what it says of anything else before torch is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from tdattr.doctor.arguments import parse
from tdattr.errors import UserError
from tests.e2e.console import tdattr
from tests.heavy import HEAVY


def test_options_and_overrides_stand_in_any_order() -> None:
    options = parse(["seed=2", "--data", "~/a", "+text@dataset.text=tokens", "--items", "9", "~ablation"])
    assert options.overrides == ["seed=2", "+text@dataset.text=tokens", "~ablation"]
    assert options.data == Path.home() / "a" and options.model is None
    assert (options.items, options.levels, options.methods, options.train) == (9, 8, True, False)


def test_what_is_no_override_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^'photos' is no override: write name=value, --data FOLDER for pictures"):
        parse(["photos"])
    for wrong in (["--items", "0"], ["--draws", "1.5"], ["-m"], ["--mode", "x"]):
        assert tdattr(*wrong, folder=tmp_path, command="doctor", check=False).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train.stepz=2"], "error: There is no setting train.stepz: did you mean train.steps?"),
        (["train.steps=many"], "error: train.steps: Value 'many' of type 'str' could not be converted to Integer."),
        (["--data", "nowhere"], "error: --data=nowhere does not exist: give the folder that holds the pictures."),
    ],
)
def test_a_mistake_is_one_sentence_and_costs_no_heavy_import(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    code = """
import atexit, sys
from tdattr.cli import doctor
atexit.register(lambda: print(*sys.modules))
sys.argv[0] = "tdattr-doctor"
doctor()
"""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr.strip()) == (1, message)
    assert not {"torch", *HEAVY} & set(done.stdout.split()) and not list(tmp_path.iterdir())
