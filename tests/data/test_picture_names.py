"""What names of pictures say, and that those of cameras, programs and counts say nothing."""

import pytest

from tdattr.data.picture_names import is_mute, list_values, read_words


@pytest.mark.parametrize(
    "stem",
    [
        "IMG_2043", "IMG2043", "DSC00012", "DSCN0001", "P1010001", "PXL_20230105_101112345", "img-20230105-wa0003",
        "0001", "7", "(3)", "00012-1234567", "ComfyUI_00001_", "Screenshot 2023-01-05 at 10.11.12 PM", "image (2)",
        "sample_512x512_3", "550e8400-e29b-41d4-a716-446655440000", "d41d8cd98f00b204", "x", "a_1",
    ],
)  # fmt: skip
def test_a_camera_a_program_or_a_count_says_nothing(stem: str) -> None:
    assert is_mute(stem) and read_words(f"{stem}.png") is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cat.png", "cat"),
        ("a_cat_in-the rain_0003.png", "a cat in the rain"),
        ("bee3.png", "bee"),
        ("facade.png", "facade"),
        ("image of a cat.png", "image of a cat"),
        ("a cat/IMG_2043.jpg", "a cat"),
        ("cat/outputs/03.png", "cat"),
        ("dogs/cat.png", "cat"),
    ],
)
def test_words_are_those_of_the_file_or_of_its_folder(name: str, words: str) -> None:
    assert read_words(name) == words


def test_what_items_are_says_something() -> None:
    assert read_words("dog/screen_03.png") == "dog"
    assert read_words("dog/screen_03.png", {"screen"}) == "screen"
    assert read_words("screen/IMG_2043.jpg") is None
    assert read_words("screen/IMG_2043.jpg", {"screen"}) == "screen"
    assert read_words("0003.png", {"3"}) is None


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("cat (3).png", "cat", True),
        ("cat-on-a-sofa.png", "cat", True),
        ("dog/IMG_2041.jpg", "dog", True),
        ("7/IMG_2041.jpg", "7", True),
        ("3_0.png", "3", True),
        ("7.png", "7", False),
        ("7 of hearts.png", "7", False),
        ("screen_3.png", "screen", True),
        ("IMG_2043.jpg", "IMG", True),
    ],
)
def test_values_are_sought_in_all_that_somebody_wrote(name: str, value: str, meant: bool) -> None:
    assert (value in list_values(name)) == meant
