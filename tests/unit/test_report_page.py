"""The one HTML file of a report: what its templates escape, and the font that it brings."""

import base64
import io
import re

from fontTools.ttLib import TTFont

from foldrace.search.reports.page import Table, render_page
from foldrace.search.reports.reproduction import Reproduction
from foldrace.studies.identity import Identity

HOSTILE = "<script>alert('\"&')</script>"


def final_page(text: str) -> str:
    cells = Table(["word", "rows"], [[text, 7], [text, 12]])
    return render_page(
        "final.html",
        title=text,
        summary={"found": [text]},
        steps=[text],
        scored={"scores": cells, "folds": cells, "spread": text, "classes": cells, "hardest": cells},
        models=cells,
        pictures=[],
        reproduction=Reproduction.of(text, Identity({"data": text}), [text]),
    )


def test_every_value_is_escaped_wherever_a_template_puts_it() -> None:
    page = final_page(HOSTILE)

    assert "<script" not in page
    assert page.count("&lt;script&gt;") == page.count("alert(") > 10


def test_a_page_brings_the_korean_letters_that_it_shows_and_no_others() -> None:
    font = re.search(r"data:font/woff;base64,([\w+/=]+)", final_page("관계 없음"))

    assert font is not None
    with TTFont(io.BytesIO(base64.b64decode(font[1]))) as embedded:
        assert {chr(code) for code in embedded.getBestCmap()} == set("관계없음")
    assert "data:font" not in final_page("plain")


def test_columns_of_numbers_alone_are_aligned_as_numbers() -> None:
    assert Table(["class", "F1"], [["per", "-"], ["org", "0.5"]]).classes == ["t", "n"]
