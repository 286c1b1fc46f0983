"""The jobs of a sweep by its overrides, without running it."""

from hydra.core.override_parser.overrides_parser import OverridesParser


def jobs(command: list[str]) -> list[list[str]]:
    """The overrides of the first job of a sweep, and of all that differ from it in one of them other than the seed."""
    parser = OverridesParser.create()
    choices = []
    for override in map(parser.parse_override, command):
        key = override.get_key_element()
        if override.is_sweep_override():
            values = list(override.sweep_string_iterator())
            choices.append([f"{key}={value}" for value in (values[:1] if key == "seed" else values)])
        else:
            choices.append([override.input_line])
    first = [values[0] for values in choices]
    others = [[*first[:i], value, *first[i + 1 :]] for i, values in enumerate(choices) for value in values[1:]]
    return [first, *others]
