"""pyproject.toml declares what the code imports: neither less nor more."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OUR_OWN = {"foldrace", "tests", "benchmarks", "_typeshed"}  # the last is of every type checker, and never imported
# What the product declares and its modules do not import.
NOT_IMPORTED = {
    "koreanize-matplotlib": "its font is read as a file",
    "sentencepiece": "transformers reads SentencePiece models with it",
    "protobuf": "sentencepiece's own description of its models needs it",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PROVIDERS = packages_distributions()


def names(requirements: list[str]) -> set[str]:
    """The normalised names in a list of requirements."""
    return {normalised(re.split(r"[^\w.-]", requirement)[0]) for requirement in requirements}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


EXTRAS = {name: names(wanted) for name, wanted in PROJECT["optional-dependencies"].items()}
REQUIRED = names(PROJECT["dependencies"])
OPTIONAL = set().union(*(EXTRAS[name] for name in EXTRAS if name != "dev"))


def python_files(*folders: str) -> set[Path]:
    """Each file once, though the package links to the rooms."""
    return {path.resolve() for folder in folders for path in (ROOT / folder).rglob("*.py")}


def imports(files: Iterable[Path], on_call: bool) -> set[str]:
    """The packages of others that these files import: when they are loaded, or when a function of theirs is called."""
    found = {name for file in files for name in _imported(ast.parse(file.read_text(encoding="utf-8")), on_call)}
    return found - set(sys.stdlib_module_names) - OUR_OWN


def _imported(node: ast.AST, on_call: bool, inside: bool = False) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom) and inside == on_call:
            modules = [child.module or ""] if isinstance(child, ast.ImportFrom) else [each.name for each in child.names]
            yield from (module.partition(".")[0] for module in modules)
        yield from _imported(child, on_call, inside or isinstance(child, ast.FunctionDef))


def undeclared(packages: set[str], declared: set[str]) -> set[str]:
    return {name for name in packages if not declared & {normalised(each) for each in PROVIDERS.get(name, [])}}


PRODUCT = python_files("foldrace", "studies", "storage", "trainer", "search")
OF_AN_EXTRA = {file: EXTRAS[file.stem] for file in PRODUCT if file.parent.name == "trackers" and file.stem in EXTRAS}


def test_what_a_module_imports_is_required() -> None:
    assert undeclared(imports(PRODUCT - OF_AN_EXTRA.keys(), on_call=False), REQUIRED) == set()


def test_a_tracker_imports_what_its_extra_brings() -> None:
    assert {file.stem for file in OF_AN_EXTRA} == {"mlflow", "tensorboard"}
    for file, extra in OF_AN_EXTRA.items():
        assert undeclared(imports([file], on_call=False), REQUIRED | extra) == set()


def test_what_is_imported_on_call_is_required_or_in_an_extra() -> None:
    assert undeclared(imports(PRODUCT, on_call=True), REQUIRED | OPTIONAL) == set()


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_what_tests_and_benchmarks_import_is_in_the_extra_dev(folder: str) -> None:
    files = python_files(folder)

    packages = imports(files, on_call=False) | imports(files, on_call=True)

    assert undeclared(packages, REQUIRED | OPTIONAL | EXTRAS["dev"]) == set()


def test_what_is_required_is_imported_or_has_a_reason() -> None:
    packages = imports(PRODUCT, on_call=False) | imports(PRODUCT, on_call=True)
    provided = {normalised(name) for package in packages for name in PROVIDERS.get(package, [])}

    assert REQUIRED - provided == set(NOT_IMPORTED)


def test_what_was_tested_is_pinned() -> None:
    pinned = names((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())

    assert (REQUIRED | OPTIONAL | EXTRAS["dev"]) - {"foldrace"} <= pinned
