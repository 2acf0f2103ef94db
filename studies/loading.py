"""Reading a study file, or a shipped study by its name.

What cannot run is refused in one line that names the file, the key, what was found and what would be right.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from foldrace.errors import did_you_mean, has_url_with_password
from foldrace.studies.data import PATH_KEYS
from foldrace.studies.messages import explain
from foldrace.studies.overrides import (
    absolute,
    absolute_storage,
    apply_override,
    parse_override,
    with_absolute_files,
)
from foldrace.studies.sections import is_sample
from foldrace.studies.study import NAME, NAME_RULE, Study, StudyError

SHIPPED = Path(__file__).parent
_RUNS = Path("runs")  # the workspace, unless another one is named
Overrides = Mapping[str, object] | Iterable[str]
MAX_LENGTH, MAX_DOTS = 100_000, 500  # tomllib's time grows with the square of the dots of a key
_TOO_DEEP = "not a study file: its values are nested too deep"
_TABLES = (".tsv", ".csv", ".json", ".jsonl", ".parquet")  # which `foldrace init` reads
STORAGE_VARIABLE = "FOLDRACE_STORAGE"  # in the environment; replaces search.storage


def load(
    path: str | Path,
    overrides: Overrides = (),
    name: str | None = None,
    runs: Path | None = None,
    files: bool = True,
) -> Study:
    """Read a study file, or a shipped study by its name.

    Args:
        path: a TOML file, or the name of a shipped study (`demo`).
        overrides: values by key, as {"training.lr": 3e-5}; or `section.key=value` each, where the value is TOML, or
            else taken as text. A path in it is relative to the current folder.
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
    if storage := os.environ.get(STORAGE_VARIABLE):
        apply_override(raw, "search.storage", storage)
    given = list(overrides.items() if isinstance(overrides, Mapping) else map(parse_override, overrides))
    for key, value in given:
        apply_override(raw, key, value)
    is_of_run = runs is not None and runs in source.parents
    try:
        study = parse_stored(raw, str(source)) if is_of_run and not given else parse(raw, str(source))
        if files:
            _check_files(study, source)
    except StudyError as error:
        option = "" if isinstance(overrides, Mapping) else "--set "
        raise _of_override(error, source, [key for key, _ in given], option) from None
    return study


def _of_override(error: StudyError, source: Path, overridden: Iterable[str], option: str) -> StudyError:
    """The same error, where it is of a key that was overridden, of the option and not of the file, which is right."""
    found = str(error).removeprefix(f"{source}: ")
    key = found.partition(":")[0]
    return StudyError(f"{option}{found}") if any(f"{key}.".startswith(f"{one}.") for one in overridden) else error


def load_stored(path: Path) -> Study:
    """The study in a file that foldrace wrote, whether or not its data is still there; raises like `load`."""
    return parse_stored(_read(path), str(path))


def parse(raw: Mapping[str, Any], source: str) -> Study:
    """A study from plain data; `source` is named in errors."""
    study = _validated(raw, source)
    for key, text in _texts(raw):
        if key != "search.storage" and has_url_with_password(text):
            raise StudyError(f"{source}: {key}: a password, which only search.storage may have, found {text!r}")
    return study


def _validated(raw: Mapping[str, Any], source: str) -> Study:
    try:
        return Study.model_validate(raw)
    except ValidationError as error:
        raise StudyError(f"{source}: {explain(error)}") from None
    except RecursionError:
        raise StudyError(f"{source}: {_TOO_DEEP}") from None


def _texts(raw: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Each text in plain data, by the key that it is found at."""
    if isinstance(raw, str):
        yield key, raw
    elif isinstance(raw, Mapping):
        for name, inner in raw.items():
            yield from _texts(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(raw, list | tuple):
        for inner in raw:
            yield from _texts(inner, key)


def parse_stored(raw: Mapping[str, Any], source: str) -> Study:
    """A study that foldrace stored; what this version does not understand, a newer one has written."""
    try:
        return _validated(raw, source)
    except StudyError as error:
        what = re.split("; (?:known: |did you mean )", str(error))[0]  # what this version knows is of no use here
        raise StudyError(f"{what}; a newer foldrace made it, so update foldrace") from None


def may_be_stored(text: object) -> bool:
    """Whether a text may be a study file that foldrace stored, of any version: it is TOML, and has the study's name."""
    try:
        return isinstance(text, str) and "name" in parse_toml(text, "")
    except StudyError:
        return False


def find(path: str | Path, runs: Path | None = None) -> Path:
    """The study file that is meant: a path, a run by its name in the workspace `runs` or its folder, a shipped one."""
    candidate = Path(path)
    shipped = SHIPPED / f"{path}.toml"
    if candidate.is_file():
        return candidate
    is_name = candidate.name == str(path)
    run = None if runs is None else _of_run(runs / candidate if is_name else candidate)
    if run is not None:
        return run
    if is_name and shipped.is_file():
        return shipped
    if runs is not None and is_name and candidate.suffix != ".toml":
        raise StudyError(no_run(str(path), runs))
    raise StudyError(f"{path}: no such study file;{_instead(candidate)}")


def no_run(name: str, runs: Path) -> str:
    """The message for a run that is not in a workspace: which ones are, or what begins it."""
    if runs != _RUNS and not runs.is_dir():
        return f"{runs}: no such folder"
    there = _runs_in(runs)
    near = did_you_mean(name, there)
    begins = "" if near else f" {what_begins(name)};"
    found = f"{runs.absolute()}: no run {name} there;{near} runs there: {', '.join(there) or 'none'};{begins}"
    return f"{found} --workspace names another folder of runs"


def what_begins(name: str) -> str:
    """The command that begins the run of that name: with its file here, or a shipped study, or any file of it."""
    with suppress(OSError):  # too long a name
        if Path(f"{name}.toml").is_file():
            return f"foldrace run {name}.toml begins it"
        if (SHIPPED / f"{name}.toml").is_file():
            return f"foldrace run {name} begins it"
    return "foldrace run FILE, with its study file, begins it"


def _instead(missing: Path) -> str:
    """What may be meant by a study file that is not there."""
    run = missing.parent
    if missing.name == "final.toml" and (run / "study.toml").is_file():
        there = "" if run.parent == _RUNS else f" --workspace {run.parent}"
        return f" foldrace export {run.name}{there} writes it once a trial is complete"
    if missing.name == "final.toml" and run.parent == _RUNS:
        begins = f" {what_begins(run.name)}, and foldrace export {run.name} writes the file"
        files = [str(_RUNS / there / missing.name) for there in _runs_in(_RUNS)]
        return did_you_mean(str(missing), files) or begins
    with suppress(OSError):  # too long a name, or a folder that may not be entered
        if Path(f"{missing}.toml").is_file():
            return f" did you mean {missing}.toml?"
    shipped = sorted(file.stem for file in SHIPPED.glob("*.toml"))
    beside = map(str, sorted(missing.parent.glob("*.toml"))) if missing.suffix == ".toml" else ()
    return f"{did_you_mean(str(missing), [*shipped, *beside])} shipped studies: {', '.join(shipped)}"


def _runs_in(runs: Path) -> list[str]:
    return sorted(run.name for run in runs.glob("*") if _of_run(run) is not None)


def _of_run(folder: Path) -> Path | None:
    """The study file in the folder of a run; that of its newest final job, where it was never searched."""
    finals = [file for file in folder.glob("final-*/study.toml") if file.parent.name.removeprefix("final-").isdecimal()]
    newest = sorted(finals, key=lambda file: int(file.parent.name.removeprefix("final-")))[-1:]
    return next((file for file in (folder / "study.toml", *newest) if file.is_file()), None)


def _read(source: Path) -> dict[str, Any]:
    """A study file as plain data, its paths absolute. Raises StudyError."""
    try:
        raw = parse_toml(source.read_text(encoding="utf-8-sig"), str(source))
    except OSError as error:
        raise StudyError(f"{source}: cannot be read: {error.strerror}") from None
    except (ValueError, StudyError) as error:
        if source.suffix.lower() in _TABLES:
            found = "not a study file, but rows by its name"
            raise StudyError(f"{source}: {found}; foldrace init {source} writes a study for them") from None
        raise error if isinstance(error, StudyError) else StudyError(f"{source}: not a TOML file: {error}") from None
    return _with_absolute_paths(raw, source.parent)


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """The plain data in the text of a study file; `source` is named in errors. Raises StudyError."""
    if len(text) > MAX_LENGTH or any(line.count(".") > MAX_DOTS for line in text.split("\n")):
        limits = f"{MAX_LENGTH:,} characters, and {MAX_DOTS} dots in a line"
        raise StudyError(f"{source}: not a study file, which has at most {limits}")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise StudyError(f"{source}: {_TOO_DEEP}") from None
    except ValueError as error:  # also of an integer with thousands of digits
        raise StudyError(f"{source}: not a TOML file: {error}") from None


def _check_files(study: Study, source: Path) -> None:
    files = [(f"data.{key}", file) for key, given in study.data.files.items() for file in given]
    if study.final.submission is not None and is_sample(study.final.submission):
        files.append(("final.submission", Path(study.final.submission)))
    for key, file in files:
        if not file.is_file():
            raise StudyError(f"{source}: {key}: no file {file}; --set {key}=PATH names another")


def _with_absolute_paths(raw: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    found = dict(raw)
    match raw.get("data"):
        case dict(data):
            paths = {key: absolute(data[key], folder) for key in PATH_KEYS if key in data}
            found["data"] = {**data, **paths}
    match raw:
        case {"final": {"submission": str(sample), **rest}} if is_sample(sample):
            found["final"] = {**rest, "submission": str((folder / sample).absolute())}
    match raw:
        case {"search": {"prior": list(priors), **rest}}:
            found["search"] = {**rest, "prior": with_absolute_files(priors, folder)}
    match found:
        case {"search": {"storage": storage, **rest}}:
            found["search"] = {**rest, "storage": absolute_storage(storage, folder)}
    return found
