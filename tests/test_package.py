"""The wheel carries the configs and works from any folder."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDED = ("tdattr", "hydra_plugins", "conf", "pyproject.toml", "README.md", "LICENSE", ".gitignore")
COMMAND = """
import sys
import tdattr.cli
assert tdattr.cli.__file__.startswith({site!r})
sys.argv = ["tdattr", *{arguments}]
tdattr.cli.main()
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked wheel, made from a checkout whose owner has values of a cluster in ``conf/local``."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "checkout").mkdir()
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "checkout" / name)
    (folder / "checkout/conf/local").mkdir(exist_ok=True)
    (folder / "checkout/conf/local/slurm.yaml").write_text("partition: mine\n")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), "checkout"]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def say(site: Path, folder: Path, *arguments: str) -> str:
    """What the installed command prints in a folder."""
    code = COMMAND.format(site=str(site), arguments=list(arguments))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={"PYTHONPATH": str(site)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_unpacked_wheel_composes_its_own_configs(site: Path, tmp_path: Path) -> None:
    assert (site / "tdattr/conf/method/mucs.yaml").exists()
    assert (site / "tdattr/report/page.html.j2").exists()
    assert all((site / f"tdattr/report/viewer/{name}").exists() for name in ("start.js", "style.css"))
    assert "name: digits" in say(site, tmp_path, "--cfg", "job", "dataset=digits")
    assert not list(tmp_path.iterdir())


def test_a_wheel_takes_values_of_a_cluster_from_the_working_folder_and_brings_none(site: Path, tmp_path: Path) -> None:
    shown = ["--cfg", "hydra", "--package", "hydra.launcher", "hydra/launcher=slurm"]
    assert "partition: null\n" in say(site, tmp_path, *shown)
    (tmp_path / "conf/local").mkdir(parents=True)
    (tmp_path / "conf/local/slurm.yaml").write_text("partition: long\naccount: project\n")
    said = say(site, tmp_path, *shown, "hydra.launcher.account=other")
    assert "partition: long\n" in said and "account: other\n" in said
