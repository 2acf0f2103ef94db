"""Reading a study file, or a shipped study by its name.

What cannot run is refused in one line that names the file, the key, what was found and what would be right.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from foldrace.studies.study import NAME, NAME_RULE, Study, StudyError, explain_one

SHIPPED = Path(__file__).parent
_PATH_KEYS = ("train", "test", "labels")
_UNION_TAGS = {"value", "range", "choices", "bool", "int", "float", "str"}


def load(
    path: str | Path,
    overrides: Iterable[str] = (),
    name: str | None = None,
    runs: Path | None = None,
    files: bool = True,
) -> Study:
    """Read a study file, or a shipped study by its name.

    Args:
        path: a TOML file, or the name of a shipped study (`demo`).
        overrides: `section.key=value` each; the value is TOML, or else taken as text; a path in it is
            relative to the current folder.
        name: another name for the study.
        files: refuse a study whose data files are missing.
        runs: a workspace; there, the name of a run means the study as it was run.

    Raises:
        StudyError: the file is missing, is not TOML, or does not describe a study that can run.
    """
    source = find(path, runs)
    raw = _read(source)
    if name is not None:
        if not re.fullmatch(NAME, name):
            raise StudyError(f"--as {name}: {NAME_RULE}")
        raw["name"] = name
    if storage := os.environ.get("FOLDRACE_STORAGE"):
        _override(raw, "search.storage", storage)
    for override in overrides:
        _set(raw, override)
    is_of_run = runs is not None and source.parent.parent == runs
    study = parse_stored(raw, str(source)) if is_of_run and not overrides else parse(raw, str(source))
    if files:
        _check_files(study, source)
    return study


def load_stored(path: Path) -> Study:
    """The study in a file that foldrace wrote, whether or not its data is still there; raises like `load`."""
    return parse_stored(_read(path), str(path))


def parse(raw: Mapping[str, Any], source: str) -> Study:
    """A study from plain data; `source` is named in errors."""
    try:
        return Study.model_validate(raw)
    except ValidationError as error:
        raise StudyError(f"{source}: {_explain(error)}") from None


def parse_stored(raw: Mapping[str, Any], source: str) -> Study:
    """A study that foldrace stored; what this version does not understand, a newer one has written."""
    try:
        return parse(raw, source)
    except StudyError as error:
        what = str(error).partition("; known: ")[0]  # which keys this version knows is of no use here
        raise StudyError(f"{what}; a newer foldrace made it, so update foldrace") from None


def find(path: str | Path, runs: Path | None = None) -> Path:
    """The study file that is meant: a path, the name of a run in the workspace `runs`, or of a shipped study."""
    candidate = Path(path)
    shipped = SHIPPED / f"{path}.toml"
    if candidate.is_file():
        return candidate
    if candidate.name == str(path):
        run = None if runs is None else runs / candidate / "study.toml"
        if run is not None and run.is_file():
            return run
        if shipped.is_file():
            return shipped
    names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.toml")))
    done = [] if runs is None else sorted(file.parent.name for file in runs.glob("*/study.toml"))
    known = f"; runs in {runs}: {', '.join(done)}" if done else ""
    raise StudyError(f"{path}: no such study file; shipped studies: {names}{known}")


def _read(source: Path) -> dict[str, Any]:
    """A study file as plain data, its paths absolute. Raises StudyError."""
    try:
        raw = tomllib.loads(source.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise StudyError(f"{source}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{source}: not a TOML file: {error}") from None
    return _with_absolute_paths(raw, source.parent)


def _check_files(study: Study, source: Path) -> None:
    for key in _PATH_KEYS:
        file: Path | None = getattr(study.data, key)
        if file is not None and not file.is_file():
            raise StudyError(f"{source}: data.{key}: no file {file}; give one there or with --set data.{key}=PATH")


def _with_absolute_paths(raw: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    data = raw.get("data")
    if not isinstance(data, dict):
        return dict(raw)
    paths = {key: str((folder / data[key]).absolute()) for key in _PATH_KEYS if isinstance(data.get(key), str)}
    return {**raw, "data": {**data, **paths}}


def _set(raw: dict[str, Any], override: str) -> None:
    """What `--set` asks for."""
    key, equals, text = override.partition("=")
    if not equals or not re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", key):
        raise StudyError(f"--set {override}: expected KEY=VALUE, as in --set training.lr=3e-5")
    value = _value(key, text)
    _override(raw, key, value)
    section, _, knob = key.partition(".")
    if section == "training" and not isinstance(value, dict):
        _drop_from_baseline(raw, knob)


def _override(raw: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        inner = raw.get(section, {})
        if not isinstance(inner, dict):
            raise StudyError(f"--set {key}: {section} is a value, not a section")
        raw[section] = dict(inner)
        raw = raw[section]
    raw[last] = value


def _drop_from_baseline(raw: dict[str, Any], knob: str) -> None:
    """A knob that is fixed on the command line is searched no more: what the file's baseline has of it is nobody's."""
    match raw:
        case {"search": {"baseline": dict(baseline)}} if knob in baseline:
            _override(raw, "search.baseline", {name: value for name, value in baseline.items() if name != knob})


def _value(key: str, text: str) -> Any:
    if key in {f"data.{k}" for k in _PATH_KEYS}:
        return str(Path(text).absolute())
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ValidationError) -> str:
    """The first of a validation's errors, as `key: what is wrong`."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if part not in _UNION_TAGS)
    if first["loc"][-1:] == ("bool",):  # the first of the kinds that a value may be of
        return (
            f"{key}: expected a value, {{ low = ..., high = ... }} or {{ choices = [...] }}, found {first['input']!r}"
        )
    return f"{key}: {explain_one(first)}" if key else explain_one(first)
