"""The documents say what is so: each command's help, each study file, each key, each link, each file named."""

import json
import pkgutil
import re
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from foldrace.search.prior_store import EarlierStudy
from foldrace.studies.loading import SHIPPED, parse
from foldrace.studies.study import Study
from tests.support import reference

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.ko.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUIDE = ROOT / "docs/guide.md"
EXAMPLE_DATA = {"data": {"train": "train.tsv"}}


def toml_blocks(page: Path) -> list[str]:
    return re.findall(r"^```toml\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_reference_has_the_help_of_every_command_and_every_knob() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "python -m tests.support.reference writes it"


def test_the_korean_readme_has_the_same_commands_results_and_study_files() -> None:
    def shown(page: Path) -> list[str]:
        lines = page.read_text(encoding="utf-8").splitlines()
        blocks = [line for block in toml_blocks(page) for line in block.splitlines()]
        return [line.partition("#")[0].rstrip() for line in lines if line.startswith("    ")] + [
            line.partition("#")[0].rstrip() for line in blocks
        ]

    assert shown(ROOT / "README.ko.md") == shown(ROOT / "README.md")


BLOCKS = {f"{page.relative_to(ROOT)}-{i}": block for page in PAGES for i, block in enumerate(toml_blocks(page))}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_every_study_file_in_the_documents_is_one(block: str) -> None:
    found = tomllib.loads(block)
    rest = {"name": "example"} | found
    rest["data"] = EXAMPLE_DATA["data"] | found.get("data", {})

    assert parse(rest, "example.toml").name


def test_the_guide_has_every_key_and_its_default() -> None:
    example, defaults = toml_blocks(GUIDE)
    said, used = tomllib.loads(defaults), tomllib.loads(example)
    study = parse({"name": "example"} | EXAMPLE_DATA, "example.toml")

    stored = {name: {key: getattr(getattr(study, name), key) for key in section} for name, section in said.items()}

    assert json.loads(json.dumps(stored)) == said
    sections = [name for name in Study.model_fields if name not in ("name", "training")]
    for name in sections:
        named = {*said.get(name, {}), *used.get(name, {}), *re.findall(r"(?m)^# (\w+) = ", defaults)}
        assert type(getattr(study, name)).model_fields.keys() <= named, name


def test_the_manifest_is_what_kubernetes_takes() -> None:
    page = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    manifest = yaml.safe_load(text)

    kubernetes_validate.validate(manifest, "1.37", strict=True)
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    command, *arguments = container["command"]
    assert command == "foldrace"
    assert {word for word in arguments if word.startswith("--")} <= set(reference.help_of(arguments[0]).split())


def test_the_prior_in_the_guide_is_one() -> None:
    (text,) = re.findall(r"^```json\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)

    assert EarlierStudy.from_json(text, "guide").searched.keys() == {"lr", "entity_marking"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]+)?\)", text):
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor and there.suffix == ".md":
            headings = re.findall(r"(?m)^#+ (.+)$", there.read_text(encoding="utf-8"))
            anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor[1:] in anchors, f"{page.name}: {target}{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_that_a_page_names_is_there(page: Path) -> None:
    helps = {command: reference.help_of(command) for command in reference.COMMANDS}
    for command, rest in re.findall(
        r"(?m)^\s*\$ foldrace ((?:database )?\w+)([^\n#]*)", page.read_text(encoding="utf-8")
    ):
        assert command in helps, f"{page.name}: foldrace {command}"
        for option in re.findall(r"(--[a-z-]+)", rest):
            assert option in helps[command], f"{page.name}: foldrace {command} {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_module_and_target_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for module in re.findall(r"python -m ([\w.]+)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{page.name}: {module}"
    for target in re.findall(r"`make ([\w-]+)`", text):
        assert re.search(rf"(?m)^{target}:", makefile), target


DESIGN = (ROOT / "docs/design.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(foldrace\.[\w.]+)`", DESIGN))))
def test_every_function_that_the_design_names_is_there(name: str) -> None:
    assert pkgutil.resolve_name(name) is not None


def test_every_shipped_study_is_named_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert all(f"`{file.stem}`" in readme for file in SHIPPED.glob("*.toml"))
