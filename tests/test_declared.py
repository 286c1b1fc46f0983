"""What is said of values before their classes are imported is what is said after it, and nothing heavy is imported."""

import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tdattr.declared import TOP, check_values, declare
from tdattr.errors import UserError
from tdattr.pipeline.open import open_workspace
from tests.conftest import CONF
from tests.heavy import HEAVY

TARGETS = sorted(
    {
        target
        for path in CONF.rglob("*.yaml")
        for target in re.findall(r"_target_: (tdattr\.\S+)", path.read_text())
        if target != "tdattr.plan_notice.Notice"  # Hydra's, no dataclass
    }
)


def compose_config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def list_fields(cls: Any) -> list[tuple[Any, ...]]:
    """The fields of a dataclass with their types, in which a declared class is written as the class itself, and their
    defaults."""
    hints = get_type_hints(cls, include_extras=True)
    return [(entry.name, str(hints[entry.name]), entry.default, entry.default_factory) for entry in fields(cls)]


@pytest.mark.parametrize("target", [*TARGETS, TOP, "tdattr.pipeline.dataset.DatasetConfig"])
def test_a_class_is_declared_as_it_is(target: str) -> None:
    module, _, name = target.rpartition(".")
    real, declared = getattr(import_module(module), name), declare(target)
    assert is_dataclass(declared) and list_fields(declared) == list_fields(real)
    assert [base.__name__ for base in declared.__mro__] == [base.__name__ for base in real.__mro__]


@pytest.mark.parametrize(
    "overrides",
    [
        ["method=mucs", "method.unlearn.max_steps=-1"],
        ["train.learning_rate=no"],
        ["seed=abc"],
        ["seed=-1"],
        ["checkpoint=true"],
        ["weights=both"],
        ["remove.groups=3"],
        ["remove.ids=[-1]"],
        ["queries.where=4"],
        ["+train.stepz=4"],
        ["experiment=guda_glyphs", "protocol=leave_k_out"],
        ["method.score.allocation=rac"],
        ["method=guda_u", "objective@method.objective=esd", "method.objective.guidance=far"],
        ["method=ensemble_d", "+method.weights={x:-1}"],
        ["dataset.recipe.learning_rate=nan"],
        ["dataset.text=words"],
        ["trainer.devices=0"],
        ["health.far=1.5"],
        ["~method.unlearn"],
    ],
    ids=" ".join,
)
def test_early_and_late_say_the_same(overrides: list[str]) -> None:
    cfg = compose_config(*overrides)
    with pytest.raises(UserError) as early:
        check_values(cfg, overrides)
    with pytest.raises(UserError) as late:
        open_workspace(cfg)
    assert str(early.value) == str(late.value)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["method=pixel", "metrics=auto", "seed=2", "remove.groups=[a]", "checkpoint=nowhere", "attributed_groups=null"],
        ["dataset=digits", "recipe@dataset.recipe=own", "train.epoch_steps=5"],  # numbers take the place of auto later
        ["model=diffusers", "model.path=x", "diffusion=diffusers", "diffusion.steps=5"],
        ["health.samples=1"],  # which the class itself refuses
        ["method._target_=nowhere.Mine", "trainer.accelerator=cpu"],
        ["method._target_=tests.test_declared.Absent"],
        ["measures.ssim.sigma=nan", "elbo.stride=x", "paths.outputs=5"],
    ],
    ids=" ".join,
)
def test_what_is_right_or_not_known_yet_passes(overrides: list[str]) -> None:
    check_values(compose_config(*overrides), overrides)


def test_a_class_of_ones_own_is_read_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").write_text("raise AssertionError('imported')")
    (tmp_path / "own_package" / "own.py").write_text(
        "from dataclasses import dataclass\nfrom tdattr.methods import Method\nfrom tdattr.ranges import Share\n"
        "raise AssertionError('imported')\n"
        "@dataclass(frozen=True)\nclass Own(Method):\n    name: str\n    part: Share\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    cfg = compose_config("method=random")
    cfg.method = {"_target_": "own_package.own.Own", "name": "own", "part": 2}
    with pytest.raises(UserError, match=r"method.part=2.0 must be above 0 and at most 1"):
        check_values(cfg, ["method.part=2"])


OWN = """from tdattr.methods import Method
from tdattr.ranges import Count
{imports}
raise AssertionError("imported")
{before}
{mark}
class Own({bases}):
    name: str
    power: {kind}
"""
PLAIN_MARK = {
    "imports": "from dataclasses import dataclass", "before": "", "mark": "@dataclass(frozen=True)", "bases": "Method",
    "kind": "Count",
}  # fmt: skip
DEFAULTS = "@dataclass(frozen=True)\nclass Base(Method):\n    scale: float = 1.0\n"


def check_own(folder: Path, power: Any, changes: dict[str, str]) -> None:
    """Check a value of a class of one's own, which is written otherwise than `PLAIN_MARK` says."""
    name = re.sub(r"\W", "_", f"own_{folder.name}")
    (folder / f"{name}.py").write_text(OWN.format_map(PLAIN_MARK | changes))
    cfg = compose_config("method=random")
    cfg.method = {"_target_": f"{name}.Own", "name": "own", "power": power}
    check_values(cfg, ["method.power=2"])


UNDERSTOOD = {
    "plain": {},
    "the module": {"imports": "import dataclasses", "mark": "@dataclasses.dataclass(frozen=True)"},
    "another name": {"imports": "from dataclasses import dataclass as dc", "mark": "@dc(frozen=True)"},
    "keywords": {"before": DEFAULTS, "mark": "@dataclass(frozen=True, kw_only=True)", "bases": "Base"},
    "a generic base": {
        "imports": "from dataclasses import dataclass\nfrom typing import Generic, TypeVar\nT = TypeVar('T')",
        "bases": "Method, Generic[T]",
    },
}
NOT_KNOWN = {
    "a quoted annotation": {"kind": '"Count"'},
    "a quoted part": {"kind": 'list["Count"]'},
    "a mark of one's own": {"imports": "from marks import dataclass"},
    "a mark made here": {"before": "mark = dataclass(frozen=True)", "mark": "@mark"},
    "two marks": {"imports": "from dataclasses import dataclass\nfrom marks import more", "mark": "@more\n@dataclass"},
    "no mark": {"mark": ""},
    "no order of fields": {"before": DEFAULTS, "bases": "Base"},
}


@pytest.mark.parametrize("changes", UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_dataclasses_are_understood_however_they_are_marked(
    changes: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    check_own(tmp_path, 2, changes)
    with pytest.raises(UserError, match=r"^method.power=0 must be"):
        check_own(tmp_path, 0, changes)


@pytest.mark.parametrize("changes", NOT_KNOWN.values(), ids=NOT_KNOWN)
def test_a_class_that_is_not_understood_is_left_to_its_import(
    changes: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    check_own(tmp_path, 0, changes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["dataset=nonsense"],
        ["metod=pixel"],
        ["train.learning_rate=no"],
        ["method=mucs", "method.unlearn.max_steps=-1"],
        ["experiment=guda_glyphs", "protocol=leave_k_out"],
    ],
    ids=" ".join,
)
def test_an_answer_or_a_mistake_costs_no_heavy_import(arguments: list[str], tmp_path: Path) -> None:
    assert not list_loaded(arguments, tmp_path) & (HEAVY | {"torch", "torchgen", "jaxtyping"})


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["checkpoint=nowhere.safetensors"], ["health.samples=1"], ["dataset=cifar10", "dataset.source.root=nowhere"]],
    ids=" ".join,
)
def test_what_a_class_refuses_costs_torch_alone(arguments: list[str], tmp_path: Path) -> None:
    loaded = list_loaded(arguments, tmp_path)
    assert "torch" in loaded and not loaded & HEAVY


def list_loaded(arguments: list[str], folder: Path) -> set[str]:
    """What a command has imported that ends with an answer or an error."""
    code = (
        "import sys; sys.argv = ['tdattr', *sys.argv[1:]]\nfrom tdattr.cli import main\n"
        "try: main()\nfinally: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=folder)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert done.returncode == (0 if arguments[0].startswith("--") else 1) and "omegaconf" in loaded
    return loaded
