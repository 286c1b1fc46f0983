"""What is said of accuracies, and of conditions that leave open what is to be shown."""

import logging
from typing import Any

import pandas as pd
import pytest

from tdattr.errors import UserError
from tdattr.pipeline.accuracy import measure
from tdattr.pipeline.accuracy_words import describe_accuracy, warn_guessing, warn_unreadable
from tdattr.pipeline.check_accuracy import check_conditions

STYLES, OBJECTS = ("bold", "thin"), ("A", "B", "C")


def items(**conditions: str) -> pd.DataFrame:
    """One of every style and object, with a condition of its own unless it is given: ``bold_A``."""
    names = [(style, name) for style in STYLES for name in OBJECTS]
    rows = [
        {"id": index, "style": style, "object": name, "condition": conditions.get(f"{style}_{name}", f"{style} {name}")}
        for index, (style, name) in enumerate(names)
    ]
    return pd.DataFrame(rows)


def test_conditions_that_are_equal_by_chance_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_conditions(items())
        assert not caplog.messages
        check_conditions(items(thin_B="thin A"))
    [said] = caplog.messages
    assert said == (
        "2 of the 6 images of the accuracies have conditions that leave the object open: items 3 and 4 show 'A' and "
        "'B', for example."
    )
    caplog.clear()
    check_conditions(items(bold_A="thin B"))  # which differ in both
    assert not caplog.messages


@pytest.mark.parametrize("told", ["object", "style"])
def test_a_model_that_is_told_nothing_of_it_is_refused(told: str) -> None:
    table = items()
    kept = "style" if told == "object" else "object"
    with pytest.raises(UserError, match=f"needs a model that is told the {told}: items 0 and "):
        check_conditions(table.assign(condition=table[kept]))
    if told == "style":  # alone, where objects are not named
        with pytest.raises(UserError, match="needs a model that is told the style: items 0 and 3"):
            check_conditions(table.assign(condition=table[kept]).drop(columns="object"))


def named(labels: list[str]) -> pd.DataFrame:
    """Images of two models; F1's are named right, and the other's all as bold, and as A."""
    seen = {"style": "bold", "object": "A"}
    tables = []
    for model in ("F1", "without bold"):
        table = items().drop(columns="condition").assign(model=model)
        for label in labels:
            table[f"{label}_named"] = table[label] if model == "F1" else seen[label]
        tables.append(table[["model", "id", *labels, *(f"{label}_named" for label in labels)]])
    return pd.concat(tables, ignore_index=True)


@pytest.mark.parametrize("labels", [["style", "object"], ["style"]])
def test_without_objects_there_is_no_cross_domain_accuracy(labels: list[str]) -> None:
    result = measure(named(labels), labels)
    assert result["f1"] == dict.fromkeys(labels, 1.0)
    crossed = {"cra": 1 / 3, "cra_forgotten": 1 / 3} if "object" in labels else {}
    assert result["groups"][0]["unlearned"] == pytest.approx({"ua": 0, "ira": 0} | crossed)
    result |= {"classifiers": dict.fromkeys(labels, 0.9), "guesses": dict.fromkeys(labels, 0.5)}
    lines = describe_accuracy(result)
    assert all(("object" in line) == ("object" in labels) for line in lines[:2])
    assert ("CRA" in lines[2]) == ("object" in labels)
    assert describe_accuracy(result, "guda_u") == lines
    alone = {key: value for key, value in result.items() if key != "means"}
    assert describe_accuracy(alone) == lines[:2]  # as of a run that ends before its method is asked
    [said] = describe_accuracy(alone, "mucs")[2:]
    assert said.startswith("method=mucs has no model without a group, so that these accuracies are of F1 alone")
    assert warn_guessing(result) == []


def test_a_classifier_that_guesses_is_named_with_what_it_makes_worthless() -> None:
    shares: dict[str, Any] = {"classifiers": {"style": 0.55, "object": 0.9}, "guesses": {"style": 0.5, "object": 0.1}}
    [said] = warn_guessing(shares)
    assert said == (
        "The style classifier names 55.0 % of held-out items right, where always naming the commonest style would get "
        "50.0 %, so that UA and IRA say nothing: raise accuracy.style_classifier.steps, or choose another architecture."
    )
    shares["classifiers"] = {"style": 0.95, "object": 0.2}
    [said] = warn_guessing(shares)
    assert (
        said.startswith("The object classifier names 20.0 %")
        and "so that CRA says nothing: raise accuracy.object" in said
    )


def test_images_that_show_nothing_and_few_images_are_said() -> None:
    shares: dict[str, Any] = {
        "classifiers": {"style": 0.9, "object": 0.2},
        "guesses": {"style": 0.1, "object": 0.1},
        "f1": {"style": 0.12, "object": 0.12},  # the objects' classifier is to blame itself
        "images": 100,
    }
    [said] = warn_unreadable(shares)
    assert said == (
        "Of F1's own images 12.0 % show the style of their prompt, and a guess gets 10.0 %, so that a model without a "
        "group has nothing to lose: train F1 for longer."
    )
    shares["f1"]["style"] = 0.8
    assert not warn_unreadable(shares)
    [said] = warn_unreadable(shares | {"images": 99})
    assert said == "The accuracies stand on 99 images of a model, fewer than 100: raise accuracy.images."
