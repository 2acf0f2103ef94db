"""HTML pages in one file: they open without a network, every text in them is escaped, and images are inside the file.

A page holds no script and no link, and its content security policy forbids both.
"""

import base64
import html
from collections.abc import Iterable, Sequence

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h2 { margin-top: 2.2rem; border-bottom: 1px solid #ddd; padding-bottom: .2rem; }
div { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; font-size: .93em; }
th, td { padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #888; }
.n { text-align: right; white-space: nowrap; }
img { max-width: 100%; height: auto; }
summary { cursor: pointer; color: #1f77b4; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Html(str):
    """Text that is HTML already. A plain `str` is escaped before it is put onto a page."""


def html_page(title: str, parts: Iterable[Html]) -> str:
    """A whole document."""
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    head += f'<meta name="viewport" content="width=device-width"><title>{_escaped(title)}</title>'
    body = f"<h1>{_escaped(title)}</h1>\n" + "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body>{body}</body></html>\n'


def section(title: str, *parts: Html) -> Html:
    return Html(f"<h2>{_escaped(title)}</h2>\n" + "\n".join(parts))


def paragraph(text: str) -> Html:
    return Html(f"<p>{_escaped(text)}</p>")


def code(text: str) -> Html:
    return Html(f"<pre>{_escaped(text)}</pre>")


def details(title: str, *parts: Html) -> Html:
    """Parts that are hidden until their title is clicked."""
    return Html(f"<details><summary>{_escaped(title)}</summary>\n" + "\n".join(parts) + "</details>")


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> Html:
    """A table of cells, each shown as its `str`; columns of numbers are aligned to the right."""
    lines = [[_escaped(cell) for cell in row] for row in rows]
    kinds = [' class="n"' if all(map(_is_number, column)) else "" for column in zip(*lines, strict=True)]
    kinds = kinds or [""] * len(header)
    head = "".join(f"<th{kind}>{_escaped(cell)}</th>" for kind, cell in zip(kinds, header, strict=True))
    body = ["".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, line, strict=True)) for line in lines]
    marked = "\n".join(f"<tr>{line}</tr>" for line in (head, *body))
    return Html(f"<div><table>{marked}</table></div>")


def image(png: bytes, words: str) -> Html:
    """A PNG inside the page; `words` are its alternative text."""
    data = base64.b64encode(png).decode("ascii")
    return Html(f'<p><img alt="{_escaped(words)}" src="data:image/png;base64,{data}"></p>')


def _is_number(text: str) -> bool:
    return not text.strip("0123456789.,+-e%") or text == ""


def _escaped(text: object) -> str:
    return text if isinstance(text, Html) else html.escape(str(text))
