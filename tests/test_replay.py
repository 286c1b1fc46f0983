"""What a run's config stands for, and what is said of a file that is none."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from tdattr.composition import compose_command
from tdattr.configs import build
from tdattr.errors import UserError
from tdattr.pipeline.itself import adopt_itself
from tdattr.replay import pin, unfold, wants_replay, write

COMMAND = ["dataset=digits", "method=pixel", "protocol=none", "seed=4"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that was composed and nothing more."""
    cfg = compose_command([*COMMAND, "logger=none", f"paths.outputs={tmp_path}/outputs"]).cfg
    folder = tmp_path / "a run"
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(OmegaConf.to_container(cfg, resolve=True)), folder / "config.yaml")
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([*COMMAND, "sweep=detached"]))
    return folder


def change(run: Path, **values: Any) -> str:
    """The path of the run's config, in which settings have other values; None: they are taken away."""
    config = OmegaConf.load(run / "config.yaml")
    for name, value in values.items():
        place, _, last = name.replace("__", ".").rpartition(".")
        node = OmegaConf.select(config, place) if place else config
        if value is None:
            del node[last]
        else:
            node[last] = value
    OmegaConf.save(config, run / "config.yaml")
    return str(run / "config.yaml")


def test_a_config_stands_for_its_command_and_for_what_that_leaves_open(run: Path, tmp_path: Path) -> None:
    given = unfold(["--config", f"{run}/config.yaml", "-m"])
    assert given[:4] == COMMAND and given[-1] == "-m" and not any("sweep" in one for one in given)
    assert f'paths.outputs="{tmp_path}/outputs"' in given
    assert not any(one.startswith(("train", "model", "dataset.")) for one in given)  # what is composed alike
    pinned = unfold([f"--config={change(run, train__batch_size=77, dataset__source__held_out=5)}"])
    assert {"train.batch_size=77", "dataset.source.held_out=5"} <= set(pinned)


def test_further_overrides_come_last_and_choices_take_the_place_of_others(run: Path) -> None:
    config = change(run, method__zero=0.25)
    given = unfold(["seed=9", f"--config={config}", "method.zero=0.5"])
    assert given.index("seed=4") < given.index("seed=9") and given.index("method.zero=0.25") < given.index(
        "method.zero=0.5"
    )
    chosen = unfold([f"--config={config}", "method=random"])
    assert [one for one in chosen if one.startswith("method")] == ["method=random"]
    assert compose_command(chosen).cfg.method.name == "random"


def test_configs_of_ones_own_are_found_where_they_lay(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "odd.yaml").write_text("# @package _global_\nseed: 4\n")
    sources = [
        {"path": "/elsewhere", "schema": "file", "provider": "main"},
        {"path": f"{tmp_path}/mine", "schema": "file", "provider": "command-line"},
        {"path": "hydra.conf", "schema": "pkg", "provider": "hydra"},
    ]
    (run / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": {"config_sources": sources}}}))
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([*COMMAND[:-1], "experiment=odd"]))
    given = unfold(["--config", f"{run}/config.yaml"])
    assert given[0] == f'hydra.searchpath=["file://{tmp_path}/mine"]' and "experiment=odd" in given


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--config"], "takes the config.yaml of a run, .*, once"),
        (["--config="], "takes the config.yaml of a run, .*, once"),
        (["--config", "a", "--config=b"], "takes the config.yaml of a run, .*, once"),
        (["--config", "nowhere.yaml"], "nowhere.yaml is no file: --config takes the config.yaml of a run"),
        (["--config", "list.yaml"], "list.yaml is not the config of a run"),
        (["--config", "other.yaml"], "other.yaml is not the config of a run"),
        (["--config", "broken.yaml"], "broken.yaml cannot be read"),
        (["--config", "binary.yaml"], "binary.yaml cannot be read"),
    ],
)
def test_what_is_no_config_of_a_run_is_said_to_be_none(
    arguments: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("list", "- 1"), ("other", "dataset: digits"), ("broken", "{a: [")):
        Path(f"{name}.yaml").write_text(text)
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert wants_replay(arguments) and not wants_replay(["--config-name=x", "seed=1"])
    with pytest.raises(UserError, match=reason):
        unfold(arguments)


def test_a_config_of_another_version_is_said_to_be_one(run: Path) -> None:
    config = change(run, train__gone=3)
    with pytest.raises(UserError, match=r"lacks the setting train.gone: .*; its command was tdattr dataset=digits"):
        unfold(["--config", config])
    change(run, train__gone=None, train__batch_size=None)
    with pytest.raises(UserError, match="this version of tdattr has the setting train.batch_size"):
        unfold(["--config", config])
    (run / ".hydra" / "overrides.yaml").write_text("- method=gone")
    with pytest.raises(UserError, match="is not one of this version of tdattr: There is no method/gone"):
        unfold(["--config", config])
    (run / ".hydra" / "overrides.yaml").unlink()
    with pytest.raises(UserError, match=r"its command is not beside it in \.hydra/overrides.yaml"):
        unfold(["--config", config])


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        -2.5,
        1e-05,
        "a b, c",
        "it's",
        'a "b"',
        "7",
        "null",
        "",
        [1, "x", None],
        {"style": ["a b", "c"]},
        [],
    ],
)
def test_values_are_written_as_hydra_reads_them(value: Any) -> None:
    parsed = OverridesParser.create().parse_override(write("a.b", value)).value()
    plain = parsed if not isinstance(parsed, (list, dict)) else OmegaConf.to_container(OmegaConf.create(parsed))
    assert plain == value and type(plain) is type(value)


def test_what_is_null_by_default_is_pinned_where_a_run_had_a_value() -> None:
    stored = {"train.patience": 3, "queries.conditions": ["3"], "diffusion.beta_start": 0.1, "train.steps": 40}
    composed = {"train.patience": None, "queries.conditions": None, "diffusion.beta_start": None, "train.steps": "auto"}
    pinned = pin(Path("config.yaml"), stored, composed, [])
    assert [one.partition("=")[0] for one in pinned] == ["train.patience", "queries.conditions"]


def test_a_run_of_items_for_themselves_is_repeated_by_its_method_alone(tmp_path: Path) -> None:
    command = ["dataset=digits", "method=das", "protocol=none", "method.self=true"]
    cfg = compose_command([*command, "logger=none", f"paths.outputs={tmp_path}/outputs"]).cfg
    adopt_itself(cfg, build(cfg.method, "method"))
    assert cfg.queries.explained == "itself"
    (tmp_path / ".hydra").mkdir()
    OmegaConf.save(OmegaConf.create(OmegaConf.to_container(cfg, resolve=True)), tmp_path / "config.yaml")
    (tmp_path / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(command))
    given = unfold([f"--config={tmp_path}/config.yaml"])
    assert given[:4] == command and not any(one.startswith("queries.") for one in given)
