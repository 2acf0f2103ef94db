"""The sizes of the code: what counts, what is above its limit, and that an exception is needed."""

from pathlib import Path

import pytest

from benchmarks.house import Measure, Part, complaints, measure, table

CODE = '''\
class Oven:
    """Bakes."""

    def bake(self, bread, *, heat, **more):
        def turn(once):
            return once

        return turn

    @staticmethod
    def clean(brush):
        return brush
'''


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A room of two modules and its __init__.py, and a package that links to the room."""
    room = tmp_path / "kitchen"
    room.mkdir()
    (room / "__init__.py").touch()
    (room / "oven.py").write_text(CODE, encoding="utf-8")
    (room / "sink.py").write_text("water = 1\n", encoding="utf-8")
    (tmp_path / "house").mkdir()
    (tmp_path / "house" / "__init__.py").touch()
    (tmp_path / "house" / "kitchen").symlink_to("../kitchen")
    return tmp_path


def sizes(checkout: Path, measure_: Measure) -> dict[str, int]:
    parts = [part for part in measure(checkout, ("house", "kitchen")) if part.measure is measure_]
    found = {part.name: part.size for part in parts}
    assert len(found) == len(parts)
    return found


def test_a_file_counts_once_though_a_link_leads_to_it(checkout: Path) -> None:
    expected = {"kitchen/__init__.py": 0, "kitchen/oven.py": 12, "kitchen/sink.py": 1, "house/__init__.py": 0}

    assert sizes(checkout, Measure.FILE) == expected


def test_functions_count_with_those_inside_them(checkout: Path) -> None:
    name = "kitchen/oven.py:Oven"

    assert sizes(checkout, Measure.FUNCTION) == {f"{name}.bake": 5, f"{name}.bake.turn": 2, f"{name}.clean": 2}
    assert sizes(checkout, Measure.CLASS) == {name: 12}


def test_self_is_no_parameter(checkout: Path) -> None:
    found = sizes(checkout, Measure.PARAMETERS)

    assert list(found.values()) == [3, 1, 1]


def test_init_is_no_module_of_its_folder(checkout: Path) -> None:
    assert sizes(checkout, Measure.FOLDER) == {"kitchen/": 2, "house/": 0}


def test_the_table_has_median_ninety_percent_and_maximum() -> None:
    parts = [Part(each, "any", size) for each in Measure for size in range(1, 11)]

    assert table(parts)[1].split() == ["lines", "of", "a", "file", "10", "5.5", "9", "10", "300"]


@pytest.mark.parametrize(
    ("measure_", "largest"),
    [(Measure.FILE, 300), (Measure.FUNCTION, 40), (Measure.CLASS, 120), (Measure.PARAMETERS, 5), (Measure.FOLDER, 10)],
)
def test_a_part_above_its_limit_is_named(measure_: Measure, largest: int) -> None:
    unit = measure_.split()[0]

    assert complaints([Part(measure_, "here", largest)], {}) == []
    assert complaints([Part(measure_, "here", largest + 1)], {}) == [f"here: {largest + 1} {unit}, at most {largest}"]


def test_an_exception_excuses_its_part_and_no_other() -> None:
    parts = [Part(Measure.PARAMETERS, "run", 9), Part(Measure.PARAMETERS, "walk", 9)]

    assert complaints(parts, {(Measure.PARAMETERS, "run"): "its options"}) == ["walk: 9 parameters, at most 5"]


@pytest.mark.parametrize("parts", [[Part(Measure.FILE, "here", 300)], []], ids=["within", "gone"])
def test_an_exception_for_nothing_is_named(parts: list[Part]) -> None:
    [line] = complaints(parts, {(Measure.FILE, "here"): "it was long once"})

    assert line == "here: needs no exception for lines of a file"
