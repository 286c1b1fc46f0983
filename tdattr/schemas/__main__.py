"""``python -m tdattr.schemas [FOLDER]``: write the schemas, and what tells VS Code which files they are for."""

import json
import sys
from pathlib import Path

from tdattr.schemas.groups import GROUPS, WHOLE, WHOLE_FOLDERS, make_schemas
from tdattr.search_path import CONF

FOLDER = "schemas"
SETTINGS = "settings.json"


def main() -> None:
    """Write a file for each group to the folder, by default ``schemas`` here."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (folder / name).write_text(text, encoding="utf-8")
    print(f"{folder}/ holds the schemas; copy {folder / SETTINGS} to .vscode/ for VS Code.")


def texts() -> dict[str, str]:
    """The content of each file, by its name."""
    contents = {f"{name}.json": schema for name, schema in make_schemas(CONF).items()}
    return {name: json.dumps(content, indent=1) + "\n" for name, content in {**contents, SETTINGS: settings()}.items()}


def settings() -> dict[str, object]:
    """VS Code's setting by which its YAML extension finds the schema of a file in ``conf`` or a folder like it."""
    files = {group: [f"**/{group}/*.yaml"] for group in GROUPS}
    files[WHOLE] = ["conf/*.yaml", *(f"**/{folder}/*.yaml" for folder in WHOLE_FOLDERS)]
    return {"yaml.schemas": {f"./{FOLDER}/{group}.json": globs for group, globs in files.items()}}


if __name__ == "__main__":
    main()
