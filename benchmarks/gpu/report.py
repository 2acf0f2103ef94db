"""What a section of the check finds, kept line by line: a section that is killed leaves what it had found."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["figure", "holds", "fails", "unchecked", "block"]
_MARKS: dict[Kind, str] = {"figure": " ", "holds": "+", "fails": "FAIL", "unchecked": "not checked", "block": " "}


@dataclass(frozen=True)
class Finding:
    """One line, or with `block` a Markdown block of several."""

    kind: Kind
    text: str


class Report:
    """Writes findings into a file and shows them, each as soon as it is made."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def figure(self, name: str, value: str) -> None:
        self._add("figure", f"{name}: {value}")

    def check(self, holds: bool, statement: str) -> None:
        """A statement, and whether it holds."""
        self._add("holds" if holds else "fails", statement)

    def fail(self, statement: str) -> None:
        self._add("fails", statement)

    def unchecked(self, what: str, why: str) -> None:
        """Something that this machine does not let us check: no failure, and said all the same."""
        self._add("unchecked", f"{what}: {why}")

    def table(self, header: list[str], rows: list[list[str]]) -> None:
        lines = [header, ["---"] * len(header), *rows]
        self._add("block", "\n".join(f"| {' | '.join(line)} |" for line in lines))

    def code(self, text: str) -> None:
        self._add("block", f"```\n{text}\n```")

    def _add(self, kind: Kind, text: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(Finding(kind, text)), ensure_ascii=False) + "\n")
        print(f"  {_MARKS[kind]} {text}", flush=True)


def read_findings(path: Path) -> tuple[Finding, ...]:
    """What a section has written so far; a line that was cut off by a kill is left out."""
    if not path.exists():
        return ()
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return tuple(Finding(**json.loads(line)) for line in whole.splitlines())


def in_gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB"
