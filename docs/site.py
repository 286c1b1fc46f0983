"""A hook of mkdocs: the files at the top of the repository and the notebooks in docs/ are pages too, and links between
them hold."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {"README.md": "index.md", "LICENSE": "LICENSE.md"} | {n: n for n in ("CONTRIBUTING.md", "CHANGELOG.md")}
NOTEBOOKS = {path.name: f"{path.stem}.md" for path in DOCS.glob("*.ipynb")}
FROM_TOP = re.compile(r"\]\((?!https?:|#)(?:docs/)?([^)#]+)(#[^)]*)?\)")
FROM_DOCS = re.compile(r"\]\((?:\.\./)?([^):#]+)(#[^)]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages."""
    for name, page in PAGES.items():
        content = FROM_TOP.sub(rewrite, (ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=content))
    for name, page in NOTEBOOKS.items():
        content = "\n\n".join(render(json.loads((DOCS / name).read_text(encoding="utf-8"))))
        files.append(File.generated(config, page, content=content))
    return files


def render(notebook: dict[str, Any]) -> Iterator[str]:
    """The cells of a notebook as Markdown, with what they showed."""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        yield source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", [])})
            if "image/png" in data:
                yield f'<img alt="What the cell drew" src="data:image/png;base64,{data["image/png"].strip()}">'
            elif "text/html" in data:
                yield "".join(line.strip() for line in data["text/html"])
            else:
                yield "```text\n" + "".join(data["text/plain"]).rstrip() + "\n```"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links from docs/ to those pages; others stay."""
    return FROM_DOCS.sub(rewrite, markdown)


def rewrite(link: re.Match[str]) -> str:
    """A link to a file of the repository as one to its page. What is no page mkdocs warns of, which is an error."""
    return f"]({(PAGES | NOTEBOOKS).get(link[1], link[1])}{link[2] or ''})"
