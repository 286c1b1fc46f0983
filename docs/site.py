"""A hook of mkdocs: the files at the top of the repository are pages too, and links between them and docs/ hold."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "LICENSE": "LICENSE.md"} | {n: n for n in ("CONTRIBUTING.md", "CHANGELOG.md")}
FROM_TOP = re.compile(r"\]\((?!https?:|#)(?:docs/)?([^)#]+)(#[^)]*)?\)")
FROM_DOCS = re.compile(r"\]\(\.\./([^)#]+)(#[^)]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages."""
    for name, page in PAGES.items():
        content = FROM_TOP.sub(rewrite, (ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links from docs/ to those pages."""
    return FROM_DOCS.sub(rewrite, markdown)


def rewrite(link: re.Match[str]) -> str:
    """A link to a file of the repository as one to its page. What is no page mkdocs warns of, which is an error."""
    return f"]({PAGES.get(link[1], link[1])}{link[2] or ''})"
