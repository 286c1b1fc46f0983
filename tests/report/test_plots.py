"""Plots show names as they are."""

import html
import warnings
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from tdattr.report.plots import draw_agreements, draw_confusions, draw_curves, draw_distributions

NAMES = ["$x_{$", "$\\alpha^2$", "50 $", "日本語 группа", "عربي", "a & <b>", "x \\frac{1}{2}"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_drawn_and_read(name: str) -> None:
    """Neither mathtext nor letters that Matplotlib's font lacks are an error or a warning."""
    values = np.linspace(0.1, 0.9, 8)
    result = {name: {"top_1": {"mean": 0.5, "low": 0.4, "high": 0.6}}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = [
            draw_distributions({name: (values, values)}, "ssim"),
            draw_distributions({"mucs": (values, values)}, name),
            draw_agreements(result, ("top_1",)),
            draw_curves({1.0: result, 100.0: result}, "steps", ("top_1",)),
            draw_curves({1.0: {"mucs": result[name]}}, name, ("top_1",)),
            draw_confusions({"mucs": pd.DataFrame({"gold": [name, "other"], "named": ["other", "other"]})}),
        ]
    for text in drawn:
        ElementTree.fromstring(text)
        assert name in html.unescape(text)
