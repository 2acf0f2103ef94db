"""The rooms keep to their floor at run time too: what an import linter cannot see is what libraries bring along."""

import subprocess
import sys

import pytest

IMPORT_A_ROOM = """
import importlib, pkgutil, sys
room = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(room.__path__, f"{sys.argv[1]}."):
    importlib.import_module(module.name)
print(*sorted({name.removeprefix("foldrace.").partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize(
    ("room", "strangers"),
    [
        ("studies", {"storage", "trainer", "search", "torch", "transformers", "optuna", "pandas"}),
        ("storage", {"studies", "trainer", "search", "torch", "transformers"}),
        ("trainer", {"search", "optuna", "sqlalchemy"}),
    ],
)
def test_a_room_brings_no_strangers(room: str, strangers: set[str]) -> None:
    command = [sys.executable, "-c", IMPORT_A_ROOM, f"foldrace.{room}"]

    found = subprocess.run(command, capture_output=True, text=True, check=True)

    assert room in found.stdout.split()
    assert set(found.stdout.split()) & strangers == set()


READ_WITHOUT_TORCH = ("arrays", "ensemble", "evaluation", "figures", "metrics", "submission", "data.examples")


def test_what_was_trained_is_read_without_torch() -> None:
    imports = "; ".join(f"import foldrace.trainer.{module}" for module in READ_WITHOUT_TORCH)

    found = subprocess.run(
        [sys.executable, "-c", f"{imports}; import sys; print({{'torch', 'transformers'}} & set(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert found.stdout == "set()\n"
