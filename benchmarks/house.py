"""How large the parts of the product's code are, held to limits: `python -m benchmarks.house`.

It counts the four rooms and `foldrace/`, each file once, and leaves tests and benchmarks out. It exits with 1 when
a part is above its limit and no exception names it, or when an exception is no longer needed.
"""

import ast
import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
ROOMS = ("foldrace", "studies", "storage", "trainer", "search")


class Measure(StrEnum):
    """What is counted. Lines are those from the first to the last, docstrings and empty ones included."""

    FILE = "lines of a file"
    FUNCTION = "lines of a function"
    CLASS = "lines of a class"
    PARAMETERS = "parameters of a function"  # without self and cls
    FOLDER = "modules of a folder"  # without __init__.py


LIMITS = {Measure.FILE: 300, Measure.FUNCTION: 40, Measure.CLASS: 120, Measure.PARAMETERS: 5, Measure.FOLDER: 10}

_COMMANDS = (
    "inspect.py:dashboard",
    "inspect.py:export",
    "inspect.py:predict",
    "inspect.py:status",
    "lists.py:trials",
    "train.py:check",
    "train.py:final",
    "train.py:rescore",
    "train.py:run",
    "cluster.py:submit",
    "cluster.py:worker",
)
# What may be above its limit, and why.
EXCEPTIONS = {
    (Measure.PARAMETERS, f"search/cli/{name}"): "a command's options are its parameters" for name in _COMMANDS
}
EXCEPTIONS |= {
    (Measure.PARAMETERS, f"search/api/{name}"): "a function has the options of its command"
    for name in ("inspect.py:dashboard", "train.py:final", "train.py:rescore", "train.py:run", "cluster.py:worker")
}
EXCEPTIONS |= {
    (Measure.PARAMETERS, "trainer/modeling/shortcuts.py:_attention_interface"): "transformers calls it with these",
}


@dataclass(frozen=True)
class Part:
    """One file, function, class or folder; `name` is its path in the checkout, and what it is called in the file."""

    measure: Measure
    name: str
    size: int


def main() -> None:
    parts = list(measure(CHECKOUT, ROOMS))
    for line in table(parts):
        print(line)
    found = complaints(parts, EXCEPTIONS)
    for line in found:
        print(line)
    sys.exit(1 if found else 0)


def measure(checkout: Path, rooms: tuple[str, ...]) -> Iterator[Part]:
    """Every part of the code in these folders of a checkout. A file that links lead to twice counts once."""
    files = {path.resolve() for room in rooms for path in (checkout / room).rglob("*.py")}
    modules: dict[Path, int] = {}
    for file in sorted(files):
        name = str(file.relative_to(checkout.resolve()))
        text = file.read_text(encoding="utf-8")
        yield Part(Measure.FILE, name, len(text.splitlines()))
        yield from _definitions(ast.parse(text, file), name)
        modules[file.parent] = modules.get(file.parent, 0) + (file.name != "__init__.py")
    for folder, count in modules.items():
        yield Part(Measure.FOLDER, f"{folder.relative_to(checkout.resolve())}/", count)


def _definitions(node: ast.AST, name: str, separator: str = ":", in_class: bool = False) -> Iterator[Part]:
    for inner in ast.iter_child_nodes(node):
        if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _definitions(inner, name, separator, in_class)
            continue
        own = f"{name}{separator}{inner.name}"
        lines = (inner.end_lineno or inner.lineno) - inner.lineno + 1
        if isinstance(inner, ast.ClassDef):
            yield Part(Measure.CLASS, own, lines)
        else:
            yield Part(Measure.FUNCTION, own, lines)
            yield Part(Measure.PARAMETERS, own, _parameters(inner, in_class))
        yield from _definitions(inner, own, ".", isinstance(inner, ast.ClassDef))


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef, in_class: bool) -> int:
    """How many arguments a caller can give; `*names` and `**names` count as one each."""
    given = function.args
    static = any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in function.decorator_list)
    positional = [*given.posonlyargs, *given.args][1 if in_class and not static else 0 :]
    return len(positional) + len(given.kwonlyargs) + (given.vararg is not None) + (given.kwarg is not None)


def table(parts: list[Part]) -> list[str]:
    """For each measure, how many parts there are, and their median, 90 % and maximum."""
    lines = [f"{'':26}{'count':>6}{'median':>8}{'90 %':>6}{'max':>6}{'limit':>7}"]
    for measure_, limit in LIMITS.items():
        sizes = sorted(part.size for part in parts if part.measure is measure_)
        middle, late = statistics.median(sizes), sizes[ceil(0.9 * len(sizes)) - 1]
        lines.append(f"{measure_:26}{len(sizes):>6}{middle:>8g}{late:>6}{sizes[-1]:>6}{limit:>7}")
    return lines


def complaints(parts: list[Part], exceptions: Mapping[tuple[Measure, str], str]) -> list[str]:
    """What is above its limit and no exception, and which exceptions are for nothing, a line each."""
    above = {(part.measure, part.name): part.size for part in parts if part.size > LIMITS[part.measure]}
    found = [
        f"{name}: {size} {measure_.split()[0]}, at most {LIMITS[measure_]}"
        for (measure_, name), size in above.items()
        if (measure_, name) not in exceptions
    ]
    needless = [(measure_, name) for measure_, name in exceptions if (measure_, name) not in above]
    return found + [f"{name}: needs no exception for {measure_}" for measure_, name in needless]


if __name__ == "__main__":
    main()
