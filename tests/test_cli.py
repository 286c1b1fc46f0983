"""What a command line says before anything runs: one sentence for each kind of mistake, and answers about itself."""

import os
import shlex
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

import tdattr as tdattr_package
from tdattr import cli
from tdattr.errors import UserError
from tdattr.library import compose as compose_workspace
from tdattr.overrides import arrange, choose_loggers, parse
from tests.conftest import CONF
from tests.e2e.console import tdattr

pytestmark = pytest.mark.e2e
NESTED = {  # a group, the place of one of its choices, and what must be chosen for there to be such a place
    "extractor": ("health.extractor", []),
    "recipe": ("dataset.recipe", []),
    "objective": ("method.objective", ["method=guda_u"]),
    "mask": ("method.unlearn.mask", ["method=guda_u"]),
    "method": ("protocol.reference", []),
    "measure": ("method.measure", ["method=logo_images"]),
}
with initialize_config_dir(str(CONF), version_base="1.3"):
    CHOICES = compose("config", return_hydra_config=True).hydra.runtime.choices
GROUPS = [group for group in map(str, CHOICES) if not group.startswith("hydra/")]


def refusal(*arguments: str, folder: Path, command: str = "main") -> str:
    """The one sentence with which a command ends."""
    done = tdattr(*arguments, folder=folder, command=command, check=False)
    assert done.returncode == 1
    *rest, line = done.stderr.splitlines()
    assert line.startswith("error: ") and "Traceback" not in done.stderr
    assert not [other for other in rest if other.startswith("error: ")]
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        (["metod=pixel"], "There is no setting metod: did you mean method?"),
        (["+metod=pixel"], "There is no setting metod: did you mean method?"),
        (["++metod=pixel"], "There is no setting metod: did you mean method?"),
        (["+metod.name=pixel"], "There is no setting metod: did you mean method?"),
        (["train.stepz=4"], "There is no setting train.stepz: did you mean train.steps?"),
        (["+train.stepz=4"], "train.stepz: there is no setting stepz, did you mean steps?"),
        (["max_steps=4"], "There is no setting max_steps: did you mean method.unlearn.max_steps?"),
        (["+paths.artefacts=x"], "There is no setting paths.artefacts: did you mean paths.artifacts?"),
        (["+elbo.strides=2"], "There is no setting elbo.strides: did you mean elbo.stride?"),
        (["~method.unlern"], "There is no setting method.unlern: did you mean method.unlearn?"),
        (["qqqqqqqqq=1"], "There is no setting qqqqqqqqq: tdattr --cfg job shows all that there are."),
        (
            ["method=guda_u", "objectiv@method.objective=esd"],
            "There is no setting objectiv@method.objective: did you mean objective@method.objective?",
        ),
        (
            ["method=guda_u", "+mask=saliency"],
            "There is no setting mask: did you mean mask@method.unlearn.mask or method.unlearn.mask?",
        ),
        (["+seed=3"], "There is a setting seed already: leave out the + before it."),
        (["+train=default"], "There is a choice of train already: leave out the + before it."),
        (
            ["text@dataset.text=tokens"],
            "There is no choice of text@dataset.text yet: put a + before it, +text@dataset.text=tokens.",
        ),
        (
            ["experiment=guda_glyphs", "protocol=leave_k_out"],
            "protocol.gold is a setting of protocol=logo and not of protocol=leave_k_out: choose it, or leave it out, "
            "which ~protocol.gold does where an experiment sets it.",
        ),
        (["trainer=slurm"], "There is no trainer/slurm: there are default, gpu."),
        (["trainer=gpus"], "There is no trainer/gpus: did you mean gpu? There are default, gpu."),
        (["trainer=1"], "trainer=1 is no choice: choose one of default, gpu, or leave it out for the usual one."),
        (["model=[dit_s,unet]"], "model takes one choice, such as model=dit_tiny; -m runs one choice after another."),
        (
            ["seed=1,2"],
            "seed=1,2 has several values: -m runs one after the other, seed=[1,2] is a list, and 'seed=\"1,2\"' is one "
            "text with a comma.",
        ),
        (["seed"], "'seed' is no override: write name=value, for example seed=2."),
        (["paths.data=null"], "paths.data=null must be a folder."),
        (["train.steps=1e3"], "train.steps: 1000.0 must be a whole number: write 1000."),
        (["remove.ids=1"], "remove.ids: 1 must be a list of whole numbers or texts, as in remove.ids=[1]."),
        (["remove.groups=A"], 'remove.groups: "A" must be a list of texts, as in remove.groups=[A].'),
        (["train.betas=null"], "train.betas: null must be a list of numbers, as in train.betas=[0.5]."),
        (["train.batch_size=[8]"], "train.batch_size: [8] must be a single value, not a list."),
        (
            ["-m", "method=pixel,mucs,random", "method.score.allocation=racing"],
            "method.score.allocation is a setting of method=mucs and not of method=pixel or method=random: run "
            "method=pixel and method=random in a command without it.",
        ),
        (
            ["-m", "method=pixel,random", "method.score.alocation=all"],
            "There is no setting method.score.alocation: tdattr --cfg job shows all that there are.",
        ),
        (
            ["-m", "method=guda_u,shapley", "method.unlearn.epochs=1"],
            "Hydra reads method.unlearn.epochs before it sweeps over method, and without method there is no such "
            "setting: give it in a command with one method.",
        ),
        (
            ["-m", "--cfg", "job"],
            "Of -m, -r, --cfg, --info and -sc there can be only one: --cfg job shows the config without -m.",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_ends_in_a_sentence_that_mends_it(mistake: list[str], sentence: str, tmp_path: Path) -> None:
    assert refusal("dataset=digits", *mistake, folder=tmp_path) == sentence


def test_a_choice_that_there_is_not_is_told_those_that_there_are(tmp_path: Path) -> None:
    said = refusal("ablation=weight_0.2", folder=tmp_path)
    assert "did you mean weight_0." in said and "unlearn_levels, weight_0.1, weight_0.3." in said


@pytest.mark.parametrize("group", GROUPS)
def test_a_choice_of_nothing_is_refused(group: str, tmp_path: Path) -> None:
    said = refusal(f"{group}=null", folder=tmp_path)
    assert said.startswith(f"{group}=null is no choice: choose one of ")
    place = group.partition("@")[2]
    assert (f"or write {place}=null" in said) == bool(place)
    assert ("or write logger=none" in said) == (group == "logger")


@pytest.mark.parametrize("group", NESTED)
def test_a_choice_given_as_a_value_is_told_its_group(group: str, tmp_path: Path) -> None:
    place, besides = NESTED[group]
    option = sorted(path.stem for path in (CONF / group).glob("*.yaml"))[0]
    said = refusal("dataset=digits", *besides, f"{place}={option}", folder=tmp_path)
    assert f"write {group}@{place}={option} instead of {place}={option}." in said


@pytest.mark.parametrize("value", ["~/pictures", "a b (c)", "it's", 'say "so" (x)', "x=(", "a;b", "{a", "ü&ö", "*.png"])
def test_what_hydra_cannot_read_is_quoted_for_the_user(value: str, tmp_path: Path) -> None:
    said = refusal(f"dataset.source.root={value}", "dataset=image_folder", folder=tmp_path)
    if "cannot be read" not in said:
        return  # no mistake: Hydra takes such a value as it is
    (written,) = shlex.split(said.partition("write ")[2].removesuffix("."))
    assert parse(written).value() == str(Path(value).expanduser())
    done = refusal(written, "dataset=image_folder", folder=tmp_path)
    assert "is no folder" in done


def test_some_values_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot be read" in refusal("dataset.source.root=~/pictures", "dataset=image_folder", folder=tmp_path)
    assert "cannot be read" in refusal("dataset.source.root=it's (", "dataset=image_folder", folder=tmp_path)


def test_a_typo_in_a_file_of_the_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\nmetod: pixel\n")
    said = refusal("--config-dir", str(tmp_path), "experiment=mine", folder=tmp_path)
    assert said == "There is no setting metod: did you mean method?"


def test_the_other_commands_say_the_same(tmp_path: Path) -> None:
    for command in ("prepare", "groups"):
        assert "did you mean dataset?" in refusal("datset=digits", folder=tmp_path, command=command)
        assert "did you mean dataset?" in refusal("+datset=digits", folder=tmp_path, command=command)
    assert "noise.moved?" in refusal("noise.mooved=1", folder=tmp_path, command="groups")


def test_a_session_is_told_what_a_command_is() -> None:
    for mistake in ("metod=pixel", "+metod=pixel"):
        with pytest.raises(UserError, match=r"^There is no setting metod: did you mean method\?$"):
            compose_workspace([mistake])
    with pytest.raises(UserError, match=r"write extractor@health\.extractor=dino instead"):
        compose_workspace(["health.extractor=dino"])
    with pytest.raises(UserError, match=r"^logger=null is no choice"):
        compose_workspace(["logger=null"])


def test_options_may_stand_anywhere() -> None:
    assert arrange(["seed=1,2", "-m", "~ablation"]) == ["-m", "--", "seed=1,2", "~ablation"]
    assert arrange(["--cfg", "job"]) == ["--cfg", "job"]


def test_several_loggers_are_choices_of_their_own() -> None:
    places = ["+logger@logger.loggers.csv=csv", "+logger@logger.loggers.wandb=wandb"]
    assert choose_loggers(["seed=2", "logger=[csv,wandb,csv]"]) == ["seed=2", "logger=several", *places]
    assert choose_loggers(["logger=[]"]) == ["logger=none"]
    for other in ("logger=csv", "logger=csv,wandb", "logger=[1]", "logger=[csv"):
        assert choose_loggers([other]) == [other]


@pytest.mark.parametrize("command", ["main", "prepare", "groups", "base", "report", "doctor"])
def test_every_command_says_its_version_and_what_it_is_for(command: str, tmp_path: Path) -> None:
    name = {"main": "tdattr"}.get(command, f"tdattr-{command}")
    assert tdattr("--version", folder=tmp_path, command=command).stdout == f"tdattr {tdattr_package.__version__}\n"
    said = tdattr("--help", folder=tmp_path, command=command).stdout
    assert name in said and "Powered by Hydra" not in said


def test_the_version_is_that_of_the_package() -> None:
    assert tdattr_package.__version__ == version("tdattr")


@pytest.mark.parametrize(
    ("command", "line", "words"),
    [
        ("prepare", "tdattr-prepare dataset=dig", ["dataset=digits"]),
        ("groups", "tdattr-groups noise.m", ["noise.moved="]),
        ("base", "tdattr-base base.unet.dr", ["base.unet.drop="]),
        ("main", "tdattr objective@method.objective=es", ["objective@method.objective=esd"]),
        ("main", "tdattr method=guda_u mask@", ["mask@method.unlearn.mask="]),
        ("main", "tdattr method=guda_u obj", ["objective", "objective@method.objective="]),
        ("main", "tdattr method=typo extractor@health.extractor=s", ["extractor@health.extractor=sscd"]),
        ("main", "tdattr train.st", ["train.steps="]),
    ],
)
def test_the_shell_completes_settings_and_choices(command: str, line: str, words: list[str], tmp_path: Path) -> None:
    done = tdattr("-sc", "query=bash", folder=tmp_path, command=command, COMP_LINE=line)
    assert done.stdout.split() == words


def test_completion_is_installed_for_every_command(tmp_path: Path) -> None:
    script = tdattr("-sc", "install=bash", folder=tmp_path).stdout
    done = subprocess.run(["bash"], input=f"{script}\ncomplete -p", capture_output=True, text=True, check=True)
    for name in ("tdattr", "tdattr-prepare", "tdattr-groups", "tdattr-base"):
        assert f"hydra_bash_completion {name}\n" in done.stdout
    for request in ("install=tcsh", "nothing", "nothing=bash"):
        assert "write -sc install= and one of bash, fish, zsh" in refusal("-sc", request, folder=tmp_path)


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "1000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None), ({"GOMP_SPINCOUNT": "7"}, "7")],
)
def test_threads_do_not_wait_busily_unless_the_user_says_so(
    given: dict[str, str], spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a command runs; a process that has called it is as it was."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    seen: list[str | None] = []
    cli.sentences(lambda: seen.append(os.environ.get("GOMP_SPINCOUNT")), cli.Jobs())
    assert seen == [spins] and os.environ.get("GOMP_SPINCOUNT") == given.get("GOMP_SPINCOUNT")
