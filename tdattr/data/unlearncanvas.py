"""UnlearnCanvas (Zhang et al. 2024, arXiv 2402.11846): 60 styles x 20 objects x 20 pictures, as GUDA-C uses it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from tdattr.data.images import list_folders, list_images, read_image, stamp
from tdattr.data.prepared import SPLITS, Example, Source, one_hot
from tdattr.data.style_prompts import PromptForm
from tdattr.errors import UserError
from tdattr.files import digest, expand
from tdattr.ranges import Count, CountOrZero
from tdattr.seeding import generator
from tdattr.tables import read_json, read_json_lines
from tdattr.wording import counted

FOLDER = "UnlearnCanvas"
SEEDS = {"Seed Images", "Seed Image"}  # the photographs that were stylised: not a style
FILES = ["prompts", "eval_prompts", "descriptors"]
PROMPT = "An image of {object} in {style} style"  # where no prompts are given
DRAWN = "from_descriptors"  # in place of a file of prompts
WORDS = 3  # of a style in a prompt of GUDA-C's
WORDS_SEED = 0  # draws which, and their order
SITE = "https://huggingface.co/datasets/OPTML-Group/UnlearnCanvas"
Picture = tuple[str, str, int]  # style, object, number


@dataclass(frozen=True)
class UnlearnCanvas(Source):
    """``<Style>/<Object>/<number>.jpg`` in ``root`` or in ``UnlearnCanvas`` below it; underscores stand for spaces.

    ``styles``: those that are used; null: all. ``fit``: ``crop`` (the shorter side is resized bilinearly, then the
    central square cut out) or ``squash`` (both sides are resized bicubically). ``condition``: ``none``, ``style`` or
    ``object`` (one of those that are used). The last ``held_out`` pictures of every object in every style are test.
    Files, sought in ``root`` unless their paths are absolute: ``prompts`` (JSON lines with rel_path and prompt),
    ``eval_prompts`` (with style, object and prompt) for the test items, and ``descriptors`` (JSON {style:
    [descriptor, …]}). ``prompts=from_descriptors``: in the form of GUDA-C's, with three descriptors drawn for every
    picture.
    """

    unaddressed: ClassVar = ("root",)
    code_version: ClassVar = 3  # items have the field ``number``

    root: str
    resolution: Count
    fit: Literal["crop", "squash"]
    styles: list[str] | None
    condition: Literal["none", "style", "object"]
    held_out: CountOrZero
    prompts: str | None
    eval_prompts: str | None
    descriptors: str | None

    def __post_init__(self) -> None:
        if self.styles == []:
            raise UserError("dataset.source.styles names none: give some, or null for all.")
        if self.eval_prompts and not self.held_out:
            raise UserError(
                f"dataset.source.eval_prompts={self.eval_prompts} is for test items, of which there are none: give "
                "dataset.source.held_out=1 or more, or eval_prompts=null."
            )

        if self.prompts == DRAWN and self.descriptors is None:
            raise UserError(
                f"dataset.source.prompts={DRAWN} draws from the descriptors of the styles: give their file with "
                "dataset.source.descriptors=<file>."
            )

    def fingerprint(self) -> dict[str, str]:
        """A digest of the pictures' names, sizes and times of change, and the SHA-256 of each file that is used.

        Raises UserError where one of them is missing, or leaves a picture out.
        """
        splits = self.splits()
        digests = {"images": stamp((path for pictures in splits.values() for path in pictures.values()), self.folder)}
        for key in self.files:
            if not self.file(key).is_file():
                raise UserError(f"{self.file(key)} is missing: {self.remedy(key)}.")
            digests[key] = digest(self.file(key))
        for split, pictures in splits.items():
            self.texts(split, list(pictures))
        return digests

    def count(self, split: str) -> int:
        """The number of pictures in the split."""
        return len(self.splits()[split])

    def examples(self, split: str) -> Iterator[Example]:
        """Style by style, object by object, in the order of their numbers.

        The fields are ``style``, ``object``, ``number`` and, where they are given, ``descriptors``.
        """
        splits = self.splits()
        styles, objects = (sorted({picture[axis] for picture in splits["train"]}) for axis in (0, 1))
        prompts, descriptors = self.texts(split, list(splits[split]))
        for picture, path in splits[split].items():
            style, name, number = picture
            fields = {"style": style, "object": name, "number": str(number)}
            yield Example(
                image=partial(read_image, path, self.resolution, 3, self.fit),
                condition={
                    "none": None,
                    "style": one_hot(styles.index(style), len(styles)),
                    "object": one_hot(objects.index(name), len(objects)),
                }[self.condition],
                prompts=(prompts[picture],),
                fields=fields | ({"descriptors": descriptors[style]} if descriptors else {}),
            )

    def splits(self) -> dict[str, dict[Picture, Path]]:
        """The files of train and test, in the order of the items.

        Raises UserError where nothing of an object would be left to train on.
        """
        pictures = self.pictures()
        members: dict[tuple[str, str], list[Picture]] = {}
        for picture in pictures:
            members.setdefault(picture[:2], []).append(picture)
        splits: dict[str, dict[Picture, Path]] = {split: {} for split in SPLITS}
        for (style, name), numbered in members.items():
            left = len(numbered) - self.held_out
            if left < 1:
                raise UserError(
                    f"dataset.source.held_out={self.held_out} leaves nothing to train on of {name} in {style}, which "
                    f"has {counted(len(numbered), 'image')}: give less."
                )
            for index, picture in enumerate(numbered):
                splits["train" if index < left else "test"][picture] = pictures[picture]
        return splits

    def pictures(self) -> dict[Picture, Path]:
        """The file of every picture of the styles that are used, sorted.

        Raises UserError where there are none, for an unknown style, for a file name that is not a number, and for two
        files of one item.
        """
        folders = [path for path in list_folders(self.folder) if plain(path.name) not in SEEDS] if self.root else []
        styles_used = {
            plain(name) for name in (self.styles if self.styles is not None else [path.name for path in folders])
        }
        pictures: dict[Picture, Path] = {}
        for style in folders:
            for thing in list_folders(style) if plain(style.name) in styles_used else []:
                for path in list_images(thing.iterdir(), self.folder):
                    if not (path.stem.isascii() and path.stem.isdigit()):
                        raise UserError(f"{path} is not named by a number as its neighbours are: remove it.")
                    picture = plain(style.name), plain(thing.name), int(path.stem)
                    if picture in pictures:
                        raise UserError(f"{path} and {pictures[picture]} are the same item: remove one of them.")
                    pictures[picture] = path
        if not folders or not (pictures or self.styles):
            raise UserError(
                f"{self.root!r} holds no images in <Style>/<Object>: give the folder of the styles with "
                f"dataset.source.root=<folder>, or fetch {SITE} and unpack it there."
            )
        unknown = sorted(styles_used - {style for style, _, _ in pictures})
        if unknown and self.styles is not None:
            raise UserError(
                f"dataset.source.styles names {unknown[0]}, of which {self.folder} has no images: choose among "
                f"{', '.join(sorted(plain(path.name) for path in folders))}."
            )
        return dict(sorted(pictures.items()))

    def texts(self, split: str, pictures: list[Picture]) -> tuple[dict[Picture, str], dict[str, str]]:
        """The prompt of every picture and, where they are given, the descriptors of every style.

        Raises UserError where a file cannot be read or leaves something out.
        """
        key = "eval_prompts" if split == "test" and self.eval_prompts else "prompts"
        descriptors = read_descriptors(self.file("descriptors")) if self.descriptors else {}
        styles = sorted({style for style, _, _ in pictures}) if self.descriptors else []
        bare = [style for style in styles if not descriptors.get(style)]
        if bare:
            raise UserError(
                f"{self.file('descriptors')} has no descriptors of {bare[0]}: add them, or set "
                "dataset.source.descriptors=null."
            )
        if key == "prompts" and self.prompts == DRAWN:
            prompts = {picture: draw_prompt(picture, descriptors[picture[0]]) for picture in pictures}
        elif not getattr(self, key):
            prompts = {picture: PROMPT.format(object=picture[1], style=picture[0]) for picture in pictures}
        else:
            texts = read_prompts(self.file(key))
            keys: dict[Picture, Any] = {pic: pic[:2] if key == "eval_prompts" else pic for pic in pictures}
            prompts = {pic: texts[name] for pic, name in keys.items() if name in texts}
            missing = [pic for pic in pictures if pic not in prompts]
            if missing:
                style, name, number = missing[0]
                raise UserError(
                    f"{self.file(key)} has no prompt for {counted(len(missing), 'image')}, first "
                    f"{style}/{name}/{number}: add {'it' if len(missing) == 1 else 'them'}, or set "
                    f"dataset.source.{key}=null."
                )
        return prompts, {style: ", ".join(words) for style, words in descriptors.items()}

    @property
    def files(self) -> list[str]:
        """The settings that name a file."""
        return [key for key in FILES if getattr(self, key) and not (key == "prompts" and self.prompts == DRAWN)]

    def remedy(self, key: str) -> str:
        """What to do where the file of a setting is missing."""
        if key == "prompts":
            return (
                f"give another one with dataset.source.prompts=<file>, have prompts made of each style's descriptors "
                f"with dataset.source.prompts={DRAWN}, or of its name with dataset.source.prompts=null"
            )
        return f"mend dataset.source.{key}=<file>, or set it to null"

    def file(self, key: str) -> Path:
        """Where one of the files lies that name prompts or descriptors."""
        return self.path / expand(getattr(self, key))

    @property
    def folder(self) -> Path:
        """The folder of the styles."""
        return self.path / FOLDER if (self.path / FOLDER).is_dir() else self.path

    @property
    def path(self) -> Path:
        return expand(self.root)


def plain(name: str) -> str:
    """The name of a style or object as people write it."""
    return name.replace("_", " ")


def read_prompts(path: Path) -> dict[Any, str]:
    """(style, object, number) of a ``rel_path`` or, where a line has none, (style, object) -> prompt on one line.

    Raises UserError where a line holds no prompt, or another one for the same picture.
    """
    remedy = "write JSON with prompt and rel_path, or prompt, style and object"
    prompts: dict[Any, str] = {}
    for number, row in read_json_lines(path, remedy):
        try:
            if "rel_path" in row:
                style, name, file = row["rel_path"].split("/")[-3:]
                picture: Any = plain(style), plain(name), int(Path(file).stem)
            else:
                picture = plain(row["style"]), plain(row["object"])
            prompt = " ".join(row["prompt"].split())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path}, line {number}, holds no prompt ({type(error).__name__}: {error}): {remedy}."
            ) from error
        if prompts.setdefault(picture, prompt) != prompt:
            raise UserError(
                f"{path}, line {number}, has a second prompt for {'/'.join(map(str, picture))}: remove one."
            )
    return prompts


def draw_prompt(picture: Picture, descriptors: Sequence[str]) -> str:
    """A prompt in the form of GUDA-C's, with some of the style's descriptors."""
    style, name, number = picture
    order = generator(WORDS_SEED, f"unlearncanvas.words {style} {name}", number).permutation(len(descriptors))
    return PromptForm().write(name, [descriptors[index] for index in order[:WORDS]])


def read_descriptors(path: Path) -> dict[str, list[str]]:
    """Style -> its descriptors. Raises UserError where the file cannot be read as such."""
    remedy = "write JSON {style: [descriptor, …]}"
    content = read_json(path, remedy)
    try:
        listed = {plain(style): list(words) for style, words in content.items() if not isinstance(words, str)}
        if not all(isinstance(word, str) for words in listed.values() for word in words):
            raise TypeError("a descriptor is no text")
        return listed
    except (TypeError, AttributeError) as error:
        raise UserError(f"{path} holds no descriptors ({type(error).__name__}: {error}): {remedy}.") from error
