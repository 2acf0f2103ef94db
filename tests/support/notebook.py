"""Runs the notebook docs/notebook.ipynb without Jupyter, cell by cell in one namespace, and prints what each shows.

`python -m tests.support.notebook --write`, in a folder for a run named demo, writes that into the notebook.
"""

import ast
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parents[2] / "docs/notebook.ipynb"


def main() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    namespace: dict[str, Any] = {}
    for number, cell in enumerate(cells, start=1):
        shown = _run("".join(cell["source"]), namespace)
        sys.stdout.write(f"[{number}]\n{shown}")
        stream = {"output_type": "stream", "name": "stdout", "text": shown.splitlines(keepends=True)}
        cell |= {"execution_count": number, "outputs": [stream] if shown else []}
    if "--write" in sys.argv:
        NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _run(source: str, namespace: dict[str, Any]) -> str:
    """What a cell prints, and the value of its last line where that is an expression."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(ast.Module(body, []), "cell", "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)  # noqa: S307, our own file
            if value is not None:
                print(repr(value))  # noqa: T201, it is captured
    return printed.getvalue()


if __name__ == "__main__":
    main()
