"""Typefaces that packages bring along: which files they are, and what words there are for how they look.

matplotlib's are those of experiments. Those of ``fontpkg`` (https://pypi.org/project/fontpkg/, packages of Google's
fonts under the SIL Open Font License, unmodified) are for what must not have seen an experiment's.
"""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from tdattr.errors import UserError


class Typeface(NamedTuple):
    """One of a package's. ``family`` is the coarser grouping, ``descriptors`` are words with spaces between them."""

    file: str  # in the package's folder of fonts
    family: str
    cut: str
    descriptors: str


MATPLOTLIB = [
    Typeface("DejaVuSans", "DejaVu Sans", "Regular", "sans-serif upright"),
    Typeface("DejaVuSans-Bold", "DejaVu Sans", "Bold", "bold sans-serif upright"),
    Typeface("DejaVuSans-Oblique", "DejaVu Sans", "Oblique", "sans-serif slanted"),
    Typeface("DejaVuSans-BoldOblique", "DejaVu Sans", "Bold Oblique", "bold sans-serif slanted"),
    Typeface("DejaVuSansMono", "DejaVu Sans Mono", "Regular", "monospaced sans-serif upright"),
    Typeface("DejaVuSansMono-Bold", "DejaVu Sans Mono", "Bold", "bold monospaced sans-serif upright"),
    Typeface("DejaVuSansMono-Oblique", "DejaVu Sans Mono", "Oblique", "monospaced sans-serif slanted"),
    Typeface("DejaVuSansMono-BoldOblique", "DejaVu Sans Mono", "Bold Oblique", "bold monospaced sans-serif slanted"),
    Typeface("DejaVuSerif", "DejaVu Serif", "Regular", "serif upright"),
    Typeface("DejaVuSerif-Bold", "DejaVu Serif", "Bold", "bold serif upright"),
    Typeface("DejaVuSerif-Italic", "DejaVu Serif", "Italic", "serif slanted"),
    Typeface("DejaVuSerif-BoldItalic", "DejaVu Serif", "Bold Italic", "bold serif slanted"),
    Typeface("STIXGeneral", "STIX General", "Regular", "serif upright"),
    Typeface("STIXGeneralBol", "STIX General", "Bold", "bold serif upright"),
    Typeface("STIXGeneralItalic", "STIX General", "Italic", "serif slanted"),
    Typeface("STIXGeneralBolIta", "STIX General", "Bold Italic", "bold serif slanted"),
    Typeface("cmr10", "Computer Modern Roman", "Regular", "serif upright"),
    Typeface("cmss10", "Computer Modern Sans", "Regular", "sans-serif upright"),
    Typeface("cmtt10", "Computer Modern Typewriter", "Regular", "monospaced serif upright"),
    Typeface("cmb10", "Computer Modern Bold", "Bold", "bold serif upright"),
    Typeface("cmti10", "Computer Modern Italic", "Italic", "serif slanted"),
]
# Words of the families as styles; no two have the same. They mean what they mean for fontpkg's typefaces, below.
STYLES = {
    "DejaVu Sans": ("sans-serif", "tall", "even"),
    "DejaVu Sans Mono": ("monospaced", "sans-serif", "tall"),
    "DejaVu Serif": ("slab", "wide", "contrasted"),
    "STIX General": ("serif", "low", "contrasted"),
    "Computer Modern Roman": ("serif", "wide", "contrasted"),
    "Computer Modern Sans": ("sans-serif", "low", "even"),
    "Computer Modern Typewriter": ("monospaced", "slab", "light"),
    "Computer Modern Bold": ("bold", "serif", "contrasted"),
    "Computer Modern Italic": ("serif", "low", "slanted"),
}
# Ours, by measure: the stem of H is 0.18 of its height or more (bold), less than 0.12 (light); x is 0.73 of H or more
# (tall), 0.68 or less (low); o is 1.03 as wide as high or more (wide), 0.86 or less (narrow); the thickest part of o is
# twice its thinnest or more (contrasted), 1.3 times or less (even). The other words are what the families' makers say.
FONTPKG = [
    Typeface("ibm_plex_mono/IBMPlexMono-Light", "IBM Plex Mono", "Light", "light monospaced slab upright tall even"),
    Typeface("ibm_plex_mono/IBMPlexMono-Regular", "IBM Plex Mono", "Regular", "monospaced slab upright tall even"),
    Typeface("ibm_plex_mono/IBMPlexMono-Bold", "IBM Plex Mono", "Bold", "bold monospaced slab upright tall"),
    Typeface("ibm_plex_mono/IBMPlexMono-Italic", "IBM Plex Mono", "Italic", "light monospaced slab slanted tall even"),
    Typeface(
        "ibm_plex_mono/IBMPlexMono-BoldItalic", "IBM Plex Mono", "Bold Italic", "bold monospaced slab slanted tall"
    ),
    Typeface("dm_mono/DMMono-Light", "DM Mono", "Light", "light monospaced sans-serif upright even"),
    Typeface("dm_mono/DMMono-Regular", "DM Mono", "Regular", "monospaced sans-serif upright even"),
    Typeface("dm_mono/DMMono-Medium", "DM Mono", "Medium", "monospaced sans-serif upright even"),
    Typeface("dm_mono/DMMono-Italic", "DM Mono", "Italic", "monospaced sans-serif slanted even"),
    Typeface("dm_mono/DMMono-MediumItalic", "DM Mono", "Medium Italic", "monospaced sans-serif slanted even"),
    Typeface("space_mono/SpaceMono-Regular", "Space Mono", "Regular", "monospaced slab upright even"),
    Typeface("space_mono/SpaceMono-Bold", "Space Mono", "Bold", "bold monospaced slab upright wide even"),
    Typeface("space_mono/SpaceMono-Italic", "Space Mono", "Italic", "monospaced slab slanted tall even"),
    Typeface("space_mono/SpaceMono-BoldItalic", "Space Mono", "Bold Italic", "bold monospaced slab slanted tall even"),
    Typeface("ibm_plex_serif/IBMPlexSerif-Light", "IBM Plex Serif", "Light", "light slab upright tall"),
    Typeface("ibm_plex_serif/IBMPlexSerif-Regular", "IBM Plex Serif", "Regular", "slab upright tall"),
    Typeface("ibm_plex_serif/IBMPlexSerif-Bold", "IBM Plex Serif", "Bold", "bold slab upright tall contrasted"),
    Typeface("ibm_plex_serif/IBMPlexSerif-Italic", "IBM Plex Serif", "Italic", "slab slanted narrow tall"),
    Typeface(
        "ibm_plex_serif/IBMPlexSerif-BoldItalic", "IBM Plex Serif", "Bold Italic", "bold slab slanted tall contrasted"
    ),
    Typeface("arvo/Arvo-Regular", "Arvo", "Regular", "slab upright low even"),
    Typeface("arvo/Arvo-Bold", "Arvo", "Bold", "bold slab upright wide low even"),
    Typeface("arvo/Arvo-Italic", "Arvo", "Italic", "slab slanted wide low even"),
    Typeface("arvo/Arvo-BoldItalic", "Arvo", "Bold Italic", "bold slab slanted wide low even"),
    Typeface("crimson_text/CrimsonText-Regular", "Crimson Text", "Regular", "serif upright low contrasted"),
    Typeface("crimson_text/CrimsonText-Bold", "Crimson Text", "Bold", "bold serif upright wide low contrasted"),
    Typeface("crimson_text/CrimsonText-Italic", "Crimson Text", "Italic", "serif slanted narrow low"),
    Typeface("crimson_text/CrimsonText-BoldItalic", "Crimson Text", "Bold Italic", "bold serif slanted narrow low"),
    Typeface(
        "dm_serif_display/DMSerifDisplay-Regular",
        "DM Serif Display",
        "Regular",
        "bold serif upright wide tall contrasted",
    ),
    Typeface(
        "dm_serif_display/DMSerifDisplay-Italic", "DM Serif Display", "Italic", "bold serif slanted tall contrasted"
    ),
    Typeface("pt_serif/PT_Serif-Web-Regular", "PT Serif", "Regular", "serif upright contrasted"),
    Typeface("pt_serif/PT_Serif-Web-Bold", "PT Serif", "Bold", "bold serif upright wide contrasted"),
    Typeface("pt_serif/PT_Serif-Web-Italic", "PT Serif", "Italic", "serif slanted narrow tall contrasted"),
    Typeface("pt_serif/PT_Serif-Web-BoldItalic", "PT Serif", "Bold Italic", "bold serif slanted tall contrasted"),
    Typeface("pt_sans/PT_Sans-Web-Regular", "PT Sans", "Regular", "light sans-serif upright even"),
    Typeface("pt_sans/PT_Sans-Web-Bold", "PT Sans", "Bold", "bold sans-serif upright even"),
    Typeface("pt_sans/PT_Sans-Web-Italic", "PT Sans", "Italic", "light sans-serif slanted narrow even"),
    Typeface("pt_sans/PT_Sans-Web-BoldItalic", "PT Sans", "Bold Italic", "bold sans-serif slanted even"),
    Typeface(
        "pt_sans_narrow/PT_Sans-Narrow-Web-Regular", "PT Sans Narrow", "Regular", "light sans-serif upright narrow even"
    ),
    Typeface("pt_sans_narrow/PT_Sans-Narrow-Web-Bold", "PT Sans Narrow", "Bold", "sans-serif upright narrow even"),
    Typeface("poppins/Poppins-Light", "Poppins", "Light", "light sans-serif upright tall even"),
    Typeface("poppins/Poppins-Regular", "Poppins", "Regular", "sans-serif upright tall even"),
    Typeface("poppins/Poppins-Bold", "Poppins", "Bold", "bold sans-serif upright wide tall even"),
    Typeface("poppins/Poppins-Italic", "Poppins", "Italic", "sans-serif slanted wide tall even"),
    Typeface("poppins/Poppins-BoldItalic", "Poppins", "Bold Italic", "bold sans-serif slanted wide tall even"),
]
COLLECTIONS = {"matplotlib": MATPLOTLIB, "fontpkg": FONTPKG}


def list_packages(collection: str) -> dict[str, str]:
    """The packages that bring the typefaces of a collection, with their versions. Raises UserError where one is
    missing."""
    versions = {}
    for name in sorted({name_package(collection, typeface) for typeface in COLLECTIONS[collection]}):
        try:
            versions[name] = version(name)
        except PackageNotFoundError as error:
            raise UserError(
                f"The typefaces of {collection} need the package {name}, which is missing: run pip install "
                "'tdattr[fonts]', or choose dataset.source.typefaces=matplotlib."
            ) from error
    return versions


def find_font(collection: str, typeface: Typeface) -> Path:
    """The file of a typeface of an installed package."""
    name = name_package(collection, typeface)
    package = find_spec(name)
    assert package is not None and package.origin is not None, f"{name} is not installed"
    folder = Path(package.origin).parent
    place = folder / "mpl-data" / "fonts" / "ttf" if collection == "matplotlib" else folder / "files"
    return place / f"{typeface.file.rpartition('/')[2]}.ttf"


def name_package(collection: str, typeface: Typeface) -> str:
    """The package that brings a typeface, as Python imports it."""
    return "matplotlib" if collection == "matplotlib" else f"fontpkg_{typeface.file.partition('/')[0]}"
