"""The jobs of a sweep by its overrides, without running it."""

from hydra.core.override_parser.overrides_parser import OverridesParser


def jobs(command: list[str]) -> list[list[str]]:
    """The overrides of as few jobs of a sweep as have every value of each of its choices, other than the seed."""
    parser = OverridesParser.create()
    choices = []
    for override in map(parser.parse_override, command):
        key = override.get_key_element()
        if override.is_sweep_override():
            values = list(override.sweep_string_iterator())
            choices.append([f"{key}={value}" for value in (values[:1] if key == "seed" else values)])
        else:
            choices.append([override.input_line])
    most = max(map(len, choices), default=1)
    return [[values[number % len(values)] for values in choices] for number in range(most)]
