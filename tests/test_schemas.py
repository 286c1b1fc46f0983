"""The JSON schemas: every YAML of ``conf`` follows its own, what the config nodes refuse they refuse, and those in the
repository are those of the code."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource

from tdattr.schemas.__main__ import FOLDER, SETTINGS, texts
from tdattr.schemas.comments import read_comments
from tdattr.schemas.groups import GROUPS, OTHERS, WHOLE, WHOLE_FOLDERS, load
from tests.conftest import CONF

ROOT = CONF.parent
FILES = [path for path in sorted(CONF.rglob("*.yaml")) if path.relative_to(CONF).parts[0] not in OTHERS]


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    """Those in the repository, by the names of their files."""
    return {path.name: json.loads(path.read_text()) for path in (ROOT / FOLDER).glob("*.json")}


def errors(schemas: dict[str, Any], name: str, values: Any) -> list[ValidationError]:
    """What the schema of that name says against values."""
    resources = [(file, Resource.from_contents(schema)) for file, schema in schemas.items() if "$schema" in schema]
    return list(
        Draft7Validator(schemas[f"{name}.json"], registry=Registry().with_resources(resources)).iter_errors(values)
    )


def schema_of(path: Path) -> str:
    """The name of the schema of a file in ``conf``."""
    return path.parent.name if path.parent.name in GROUPS else WHOLE


def test_those_in_the_repository_are_current() -> None:
    stored = {path.name: path.read_text() for path in (ROOT / FOLDER).iterdir()}
    assert stored == texts(), "run make schemas"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_every_file_follows_its_schema(path: Path, schemas: dict[str, Any]) -> None:
    assert not errors(schemas, schema_of(path), load(path))


MUCS = {"_target_": "tdattr.methods.mucs.MUCS", "name": "mucs"}


@pytest.mark.parametrize(
    ("group", "right", "wrong"),
    [
        # a type
        ("method", MUCS | {"unlearn": {"max_steps": 5}}, MUCS | {"unlearn": {"max_steps": "many"}}),
        ("method", MUCS | {"unlearn": {"max_steps": 5}}, MUCS | {"unlearn": {"max_steps": 5.5}}),
        # a range, a choice, null, a key, one that another class has
        ("method", MUCS | {"unlearn": {"max_steps": 1}}, MUCS | {"unlearn": {"max_steps": 0}}),
        ("method", MUCS | {"score": {"schedule_share": 1}}, MUCS | {"score": {"schedule_share": 1.1}}),
        ("method", MUCS | {"score": {"schedule_share": "auto"}}, MUCS | {"score": {"schedule_share": "some"}}),
        ("method", MUCS | {"score": {"form": "skew"}}, MUCS | {"score": {"form": "skewed"}}),
        ("method", MUCS | {"score": {"epsilon": None}}, MUCS | {"score": {"pairs": None}}),
        ("method", MUCS | {"unlearn": {"stop": 1}}, MUCS | {"unlearn": {"stopp": 1}}),
        ("method", MUCS | {"null_loss": {}}, MUCS | {"gradients": {}}),
        ("method", {"defaults": ["mucs"], "gradients": {"draws": 5}}, {"defaults": ["mucs"], "gradient": {}}),
        ("method", {"_target_": "mine.Mine", "any": [1]}, {"_target_": 3}),  # a class of one's own
        ("train", {"betas": [0.9, 0.99]}, {"betas": 0.9}),
        ("train", {"steps": "${dataset.recipe.steps}"}, {"steps": "$steps"}),  # what Hydra puts in
        ("train", {"mirror": True}, {"mirror": "yes please"}),
        ("elbo", {"t_max": None}, {"t_max": -1}),
        ("dataset", {"source": {"root": "photos"}}, {"source": "photos"}),
        ("config", {"method": {"unlearn": {"steps": 5}}}, {"method": {"unlearn": {"steps": -5}}}),
        ("config", {"metrics": "auto", "seed": 3}, {"metrics": "all", "seed": 3}),
        ("config", {"until": "generate"}, {"untill": "generate"}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused(group: str, right: Any, wrong: Any, schemas: dict[str, Any]) -> None:
    assert not errors(schemas, group, right)
    assert errors(schemas, group, wrong)


def test_every_folder_has_a_schema_and_the_editor_is_told() -> None:
    folders = {path.parent.name for path in FILES if path.parent != CONF}
    assert folders == {*GROUPS, *WHOLE_FOLDERS}
    told = json.loads((ROOT / FOLDER / SETTINGS).read_text())["yaml.schemas"]
    for path in FILES:
        matching = [name for name, globs in told.items() for glob in globs if matches(path.relative_to(ROOT), glob)]
        assert matching == [f"./{FOLDER}/{schema_of(path)}.json"], path
        assert (ROOT / matching[0]).is_file()


def matches(path: Path, glob: str) -> bool:
    """As an editor reads a glob: ** stands for any folders, * for a name."""
    pattern = re.escape(glob).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    return re.fullmatch(pattern, str(path)) is not None


def test_comments_are_the_descriptions(schemas: dict[str, Any], tmp_path: Path) -> None:
    shared = schemas["definitions.json"]["definitions"]
    mucs = shared["tdattr.methods.mucs.MirrorConfig"]["properties"]
    assert mucs["weight"]["description"] == "lambda"
    assert mucs["shared_noise"]["description"].endswith("; the copies of the query get the noise of the training items")
    file = tmp_path / "file.yaml"
    file.write_text(
        "# of the file\n_target_: a.B # the class\n# above\n# it\ngroup: # behind\n  text: 'a # b' # of the text\n"
        "  plain: a#b\n  items: [1,\n    2] # after both\nlast: {a: 1} # of a flow\n"
    )
    assert read_comments(file) == {
        ("_target_",): "the class",
        ("group",): "above it; behind",
        ("group", "text"): "of the text",
        ("group", "items"): "after both",
        ("last",): "of a flow",
    }
