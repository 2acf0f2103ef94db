"""Renders a report as one HTML file: it opens and prints without a network, and needs no font of its reader.

Templates escape every value. A page holds no script and no link, and its content security policy forbids both.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from jinja2 import Environment, PackageLoader, StrictUndefined

from foldrace.trainer.figures import korean_font

_LATIN = 0x24F  # the last character that every reader's own font has


@dataclass(frozen=True)
class Table:
    """Cells to show, each as its `str`."""

    header: Sequence[object]
    rows: Sequence[Sequence[object]]

    @property
    def classes(self) -> list[str]:
        """The CSS class of each column: `n` where all its cells are numbers."""
        columns = list(zip(*self.rows, strict=True)) or [("",)] * len(self.header)
        return ["n" if all(_is_number(str(cell)) for cell in column) else "t" for column in columns]


@dataclass(frozen=True)
class Picture:
    """A PNG and its alternative text."""

    png: bytes
    words: str

    @property
    def source(self) -> str:
        return _data_url("image/png", self.png)


def render_page(template: str, **values: Any) -> str:
    """The HTML of a template of this package, with a font for its Korean letters inside."""
    page = _environment().get_template(template)
    characters = frozenset(ord(character) for character in page.render(font="", **values)) - set(range(_LATIN + 1))
    return page.render(font=_font(characters), **values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("foldrace.search.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _font(characters: frozenset[int]) -> str:
    """The data URL of a font that has these characters; empty where it is not needed, or not installed."""
    path = korean_font()
    if path is None or not characters:
        return ""
    with TTFont(path) as font:
        outlines = ("cmap", "glyf", "head", "hhea", "hmtx", "loca", "maxp", "name", "OS/2", "post")
        unneeded = [table for table in font.keys() if table not in outlines]  # noqa: SIM118, a font has keys, no iterator
        subsetter = Subsetter(Options(layout_features=[], hinting=False, drop_tables=unneeded))
        subsetter.populate(unicodes=characters)
        subsetter.subset(font)
        font.flavor = "woff"
        buffer = io.BytesIO()
        font.save(buffer)
    return _data_url("font/woff", buffer.getvalue())


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _is_number(text: str) -> bool:
    return not text.strip("0123456789.,+-e%")
