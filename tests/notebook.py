"""Run a notebook as Jupyter would, one cell after the other in one namespace, without Jupyter's thirty packages.

``python -m tests.notebook docs/example.ipynb`` runs it and writes what its cells show into it.
"""

import ast
import base64
import io
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

Output = dict[str, Any]


def run(notebook: dict[str, Any]) -> list[list[Output]]:
    """What the code cells show, in nbformat 4: what they print, the value of their last expression, and figures. An
    error in a cell is raised."""
    import matplotlib

    matplotlib.use("agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    return [list(run_cell("".join(cell["source"]), names)) for cell in code_cells(notebook)]


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Those cells of a notebook that are run."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run_cell(source: str, names: dict[str, Any]) -> Iterator[Output]:
    """What one cell shows. Bars of progress are not kept."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    value, printed = None, io.StringIO()
    with redirect_stdout(printed), redirect_stderr(io.StringIO()):
        exec(compile(tree, "<cell>", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
    if printed.getvalue():
        yield {"output_type": "stream", "name": "stdout", "text": lines(printed.getvalue())}
    if value is not None:
        yield {"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": show(value)}
    yield from figures()


def show(value: Any) -> dict[str, list[str]]:
    """A value as text and, where it has that, as HTML."""
    html = {"text/html": lines(value._repr_html_())} if hasattr(value, "_repr_html_") else {}
    return html | {"text/plain": lines(repr(value))}


def figures() -> Iterator[Output]:
    """The figures that a cell has drawn, which are closed."""
    from matplotlib import pyplot

    for number in pyplot.get_fignums():
        file = io.BytesIO()
        pyplot.figure(number).savefig(file, dpi=80, bbox_inches="tight", metadata={"Software": None})
        data = {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": ["<Figure>"]}
        yield {"output_type": "display_data", "metadata": {}, "data": data}
    pyplot.close("all")


def lines(text: str) -> list[str]:
    """A text as notebooks hold it."""
    return text.splitlines(keepends=True)


def main() -> None:
    """Run a notebook and keep what it shows."""
    path = Path(sys.argv[1])
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for number, (cell, outputs) in enumerate(zip(code_cells(notebook), run(notebook), strict=True), 1):
        cell["execution_count"] = number
        cell["outputs"] = [
            output | {"execution_count": number} if "execution_count" in output else output for output in outputs
        ]
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
