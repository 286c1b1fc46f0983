"""The numbers of smoothness in one line, as far as they are there."""

from tdattr.metagradients.describe import tell_smoothness


def test_only_what_was_measured_is_said() -> None:
    facts = {"growth": 3.14159, "smoothness": 0.876, "prediction": 0.5}
    said = [tell_smoothness(dict(list(facts.items())[:count])) for count in range(4)]
    assert said[0] == []
    assert said[1] == ["derivatives grow up to 3.1 times on the way back through the training"]
    assert said[2] == [f"{said[1][0]}; its smoothness is 0.88 of 1"]
    assert said[3] == [f"{said[2][0]}; the scores predict a small change of it with a correlation of 0.50"]
