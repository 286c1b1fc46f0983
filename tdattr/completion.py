"""Completion in the shell: Hydra's, and also of choices inside another group, ``objective@method.objective=``."""

from contextlib import suppress
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.completion_plugin import CompletionPlugin
from hydra.types import RunMode

from tdattr.errors import UserError
from tdattr.search_path import composing

COMMANDS = ("tdattr", "tdattr-prepare", "tdattr-groups", "tdattr-base")
# readline takes @ for the end of a word
BASH = f"""COMP_WORDBREAKS=${{COMP_WORDBREAKS//@}}
complete -o nospace -o default -F hydra_bash_completion {" ".join(COMMANDS)}"""


def complete(request: str, config_name: str) -> None:
    """Print what a shell asks for: ``install=bash``, ``uninstall=bash`` or ``query=bash``. Raises UserError."""
    task, _, shell = request.partition("=")
    plugins: list[Any] = Plugins.instance().discover(CompletionPlugin)
    shells = {plugin.provides(): plugin for plugin in plugins}
    shells["zsh"] = shells["bash"]  # which Hydra's hands everything on to
    if shell not in shells or task not in ("install", "uninstall", "query"):
        raise UserError(f"-sc {request} is no completion: write -sc install= and one of {', '.join(sorted(shells))}.")
    with composing():
        plugin = type("Completion", (Completion, shells[shell]), {})(GlobalHydra.instance().config_loader())
        if task == "query":
            plugin.query(config_name)
        elif task == "uninstall":
            plugin.uninstall()
        else:
            plugin.install()
            if shell != "fish":
                print(BASH)


class Completion(CompletionPlugin):
    """Put before one of Hydra's plugins, whose words it takes for those of the group that stands before an @."""

    def _query_config_groups(self, word: str, config_name: str | None, words: list[str]) -> tuple[list[str], bool]:
        group, _, rest = word.partition("@")
        place, equals, begun = rest.partition("=")
        if equals:
            matches, exact = super()._query_config_groups(f"{group}={begun}", config_name, words)
            return [match.replace("=", f"@{place}=", 1) for match in matches], exact
        matches, exact = super()._query_config_groups(word, config_name, words)
        with suppress(HydraException):  # a choice among the words is wrong
            cfg = self.config_loader.load_configuration(config_name, words, RunMode.RUN)
            choices = [f"{choice}=" for choice in map(str, cfg.hydra.runtime.choices) if "@" in choice]
            matches += [choice for choice in choices if choice.startswith(word)]
        return matches, exact
