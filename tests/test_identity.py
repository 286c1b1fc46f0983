"""The identity of a job: what changes it, what does not, and that a sweep finds it without composing every job."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig

from tdattr import identity
from tdattr.identity import digest_code, identify, stamp_files
from tdattr.sweeps.composing import Composer
from tests.conftest import CONF

GIVEN = ["dataset=digits", "method=dtrak", "seed=3", "method.damping=[10.0,20.0]", "queries.explained=controls"]


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Files and code are looked at once a process."""
    for cached in (stamp_files, digest_code):
        cached.cache_clear()
    yield
    for cached in (stamp_files, digest_code):
        cached.cache_clear()


@pytest.fixture
def loader() -> Iterator[ConfigLoader]:
    """Hydra's, with the project's configs."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


@pytest.fixture
def master(loader: ConfigLoader) -> DictConfig:
    """The config of a sweep without overrides."""
    return loader.load_configuration("config", [], RunMode.MULTIRUN)


def alone(loader: ConfigLoader, master: DictConfig, overrides: list[str]) -> str | None:
    """The identity of a job as it finds it itself."""
    return identify(loader.load_sweep_config(master, overrides))


@pytest.mark.parametrize(
    "changed",
    [
        "seed=4",
        "method=das",
        "method.damping=[10.0]",
        "protocol.k=7",
        "metrics=[ssim,mse]",
        "trainer.precision=bf16-true",
        "trainer.scoring_precision=bfloat16",
        "checkpoint=none.safetensors",
    ],
)
def test_another_job_is_another_one(changed: str, loader: ConfigLoader, master: DictConfig) -> None:
    key = changed.partition("=")[0]
    rest = [text for text in GIVEN if text.partition("=")[0] != key]
    if changed == "method=das":
        rest.remove("method.damping=[10.0,20.0]")
    before = rest if rest == GIVEN else [*rest, next((text for text in GIVEN if text.startswith(f"{key}=")), "seed=3")]
    given = [*rest, changed]
    composer = Composer(loader, master)
    assert composer.identify(given) == alone(loader, master, given) is not None
    assert composer.identify(given) != composer.identify(before) == alone(loader, master, before)


def test_what_changes_no_result_changes_no_identity(loader: ConfigLoader, master: DictConfig) -> None:
    same = ["paths.outputs=/tmp/elsewhere", "logger=none", "trainer.threads=7", "sweep=detached", "seed=1"]
    assert alone(loader, master, same) == alone(loader, master, [])
    assert Composer(loader, master).identify(same) == alone(loader, master, [])
    assert Composer(loader, master).identify(list(reversed(GIVEN))) == alone(loader, master, GIVEN)


def test_many_jobs_are_composed_once_for_each_choice(
    loader: ConfigLoader, master: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed: list[list[str]] = []
    load = loader.load_sweep_config

    def count(config: DictConfig, overrides: list[str]) -> DictConfig:
        composed.append(overrides)
        return load(config, overrides)

    monkeypatch.setattr(loader, "load_sweep_config", count)
    jobs = [[f"method={name}", f"seed={n}", "protocol.k=3"] for name in ("random", "pixel") for n in range(50)]
    composer = Composer(loader, master)
    composer.check(jobs)
    assert len({composer.identify(job) for job in jobs}) == 100
    assert composed == [["method=random"], ["method=pixel"]]


@pytest.mark.parametrize(
    ("job", "error", "words"),
    [
        (["method=random", "sed=3"], ConfigCompositionException, "Could not override 'sed'"),
        (["method=random", "method.damping=3"], ConfigCompositionException, "Could not override 'method.damping'"),
        (["method=randon"], MissingConfigException, "Could not find 'method/randon'"),
    ],
)
def test_a_job_that_cannot_be_composed_is_refused(
    job: list[str], error: type[Exception], words: str, loader: ConfigLoader, master: DictConfig
) -> None:
    with pytest.raises(error, match=words):
        Composer(loader, master).check([["seed=1"], job])


def test_files_that_a_config_names_are_part_of_it(
    loader: ConfigLoader, master: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "1.png").write_bytes(b"a")
    monkeypatch.setenv("PHOTOS", str(photos))
    job = ["dataset=image_folder", "dataset.source.root=${oc.env:PHOTOS}"]

    def now() -> tuple[Any, Any]:
        stamp_files.cache_clear()
        return alone(loader, master, job), Composer(loader, master).identify(job)

    found = [now()]
    (photos / "2.png").write_bytes(b"b")
    found.append(now())
    os.utime(photos / "1.png", (1, 1))
    found.append(now())
    shutil.copytree(photos, tmp_path / "moved")
    monkeypatch.setenv("PHOTOS", str(tmp_path / "moved"))
    found.append(now())
    assert all(own == swept is not None for own, swept in found)
    assert len(set(found)) == 4


def test_other_code_is_another_job(
    loader: ConfigLoader, master: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = alone(loader, master, [])
    package = tmp_path / "tdattr"
    shutil.copytree(identity.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "*.j2"))
    monkeypatch.setattr(identity, "PACKAGE", package)
    digest_code.cache_clear()
    assert alone(loader, master, []) == before  # a copy, as that of a sweep
    file = package / "pipeline" / "evaluate.py"
    file.write_text(file.read_text().replace('plan("evaluate", 6,', 'plan("evaluate", 7,'))
    digest_code.cache_clear()
    assert alone(loader, master, []) != before


def test_measures_are_known_by_their_configs_or_not_at_all(
    loader: ConfigLoader, master: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for metrics in ("auto", "mine", "[ssim,mine]"):
        job = [f"metrics={metrics}"]
        assert alone(loader, master, job) is Composer(loader, master).identify(job) is None
    whole = ["metrics=[ssim,mine]", "+measures.mine={_target_:tdattr.metrics.similarity.MSE}"]
    assert alone(loader, master, whole) is not None
    before = alone(loader, master, [])
    shutil.copytree(identity.MEASURES, tmp_path / "measure")
    monkeypatch.setattr(identity, "MEASURES", tmp_path / "measure")
    assert alone(loader, master, []) == before
    (tmp_path / "measure" / "ssim.yaml").write_text("_target_: tdattr.metrics.similarity.SSIM\nsigma: 2.0\n")
    assert alone(loader, master, []) != before


def test_code_of_a_users_own_is_part_of_the_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_method_of_a_test.py").write_text("x = 1\n")
    cfg = DictConfig({"method": {"_target_": "my_method_of_a_test.Mine"}, "trainer": {"precision": "32-true"}})
    before = identify(cfg)
    (tmp_path / "my_method_of_a_test.py").write_text("x = 2\n")
    digest_code.cache_clear()
    assert before is not None and identify(cfg) != before


def test_what_cannot_be_looked_at_has_no_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = DictConfig({"a": "${b}", "trainer": {"precision": "32-true"}})
    assert identify(nowhere) is None
    monkeypatch.setattr(identity, "MOST_FILES", 1)
    for name in "ab":
        (tmp_path / name).touch()
    assert identify(DictConfig({"root": str(tmp_path), "trainer": {"precision": "32-true"}})) is None
