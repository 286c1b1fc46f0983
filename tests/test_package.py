"""The wheel carries the configs and works from any folder."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_an_unpacked_wheel_composes_its_own_configs(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    assert (tmp_path / "site/tdattr/conf/method/mucs.yaml").exists()
    assert (tmp_path / "site/tdattr/report/page.html.j2").exists()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = (
        "import sys; sys.argv = ['tdattr', '--cfg', 'job', 'dataset=digits']; import tdattr.cli;"
        f"assert tdattr.cli.__file__.startswith({str(tmp_path)!r}); tdattr.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=elsewhere, env={"PYTHONPATH": str(tmp_path / "site")}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"name: digits" in done.stdout
    assert not list(elsewhere.iterdir())
