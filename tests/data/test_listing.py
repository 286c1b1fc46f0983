"""Links to files and folders, circles of them, and the order of names."""

import os
from pathlib import Path

import pytest

from tdattr.data.listing import TOP, list_folder
from tdattr.errors import UserError
from tests.data.folders import put, source


def listed(root: Path) -> dict[str, list[str]]:
    return {group: [found.name for found in images] for group, images in list_folder(root).groups.items()}


def test_names_are_sorted_as_paths_are(tmp_path: Path) -> None:
    """A folder's files stand together: "a-b.png" does not come between those of "a"."""
    for name in ("g/a/2.png", "g/a-b.png", "g/a/1/1.png", "g/a.png", "g/B.png", "g-h/1.png", "g/a0.png"):
        put(tmp_path / name, 1)
    assert listed(tmp_path) == {
        "g": [path.relative_to(tmp_path).as_posix() for path in sorted((tmp_path / "g").rglob("*.png"))],
        "g-h": ["g-h/1.png"],
    }
    assert listed(tmp_path)["g"][0] == "g/B.png" and listed(tmp_path)["g"][1:3] == ["g/a/1/1.png", "g/a/2.png"]


def test_links_to_files(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    put(tmp_path / "elsewhere" / "far.png", 1)
    put(root / "a" / "near.png", 2)
    (root / "a" / "link.png").symlink_to(tmp_path / "elsewhere" / "far.png")
    (root / "a" / "twice.png").symlink_to("link.png")
    (root / "a" / "chain.png").symlink_to("nowhere.png")
    (root / "a" / "self.png").symlink_to("self.png")
    (root / "folder.png").mkdir()
    put(root / "folder.png" / "inner.png", 3)
    (root / "a" / "folder link.png").symlink_to(root / "folder.png")
    os.mkfifo(root / "a" / "pipe.png")
    found = list_folder(root)
    assert [each.name for each in found.groups["a"]] == [
        "a/folder link.png/inner.png", "a/link.png", "a/near.png", "a/twice.png",
    ]  # fmt: skip
    assert found.broken == 2
    (root / "a" / "folder link.png").unlink()
    with pytest.raises(UserError, match=r"raw/a/twice.png and .*raw/a/link.png are one file: remove one of them"):
        source(root).count("train")
    (root / "a" / "twice.png").unlink()
    assert source(root).count("train") == 3
    images = [example.read() for example in source(root).examples("train")]
    assert len(images) == 3


def test_a_changed_target_is_another_dataset(tmp_path: Path) -> None:
    put(tmp_path / "far.png", 1)
    (tmp_path / "raw" / "a").mkdir(parents=True)
    (tmp_path / "raw" / "a" / "link.png").symlink_to(tmp_path / "far.png")
    before = source(tmp_path / "raw").fingerprint()
    os.utime(tmp_path / "far.png", ns=(1, 1))
    assert source(tmp_path / "raw").fingerprint() != before


def test_circles_end(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    for name in ("a/1.png", "b/2.png", "b/deep/3.png"):
        put(root / name, len(name) + int(name[-5]))
    (root / "b" / "deep" / "up").symlink_to("..")
    (root / "b" / "deep" / "here").symlink_to(".")
    (root / "b" / "root").symlink_to(root)
    (root / "a" / "loop").symlink_to("loop")
    (root / "a" / "one").symlink_to("two")
    (root / "a" / "two").symlink_to("one")
    assert listed(root) == {"a": ["a/1.png"], "b": ["b/2.png", "b/deep/3.png"]}
    (root / "self").symlink_to(root)  # a group of its own, which leads nowhere
    with pytest.raises(UserError, match="group self has no images: .*, or remove that folder"):
        source(root).count("train")
    (root / "self").unlink()
    (root / "a" / "to b").symlink_to(root / "b")
    (root / "b" / "to a").symlink_to(root / "a")
    with pytest.raises(UserError, match="are one file: remove one of them"):
        source(root).count("train")


def test_the_folder_itself_may_be_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "raw" / "a" / "1.png", 1)
    put(tmp_path / "raw" / "2.png", 2)
    (tmp_path / "link").symlink_to("raw")
    (tmp_path / "raw" / "a" / "back").symlink_to(tmp_path / "link")
    assert listed(tmp_path / "link") == {TOP: ["2.png"], "a": ["a/1.png"]} == listed(tmp_path / "raw")
    monkeypatch.chdir(tmp_path / "raw")
    assert listed(Path(".")) == {TOP: ["2.png"], "a": ["a/1.png"]} == listed(Path("../link/"))
    assert source(Path(".")).fingerprint() == source(tmp_path / "link").fingerprint()


def test_a_folder_is_not_taken_for_the_images_in_none(tmp_path: Path) -> None:
    put(tmp_path / "(no folder)" / "1.png", 1)
    assert listed(tmp_path) == {"(no folder)": ["(no folder)/1.png"]}
    put(tmp_path / "2.png", 2)
    with pytest.raises(
        UserError, match=r"A folder is called \(no folder\), as are the images that lie in none: rename"
    ):
        listed(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look at everything")
def test_what_cannot_be_looked_at_is_named(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.png", 1)
    for mode in (0o400, 0o200):
        (tmp_path / "a").chmod(mode)
        with pytest.raises(UserError, match=r"a.* cannot be looked at \(Permission denied\): mend or remove it"):
            list_folder(tmp_path)
    (tmp_path / "a").chmod(0o700)
