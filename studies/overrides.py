"""Overrides (`--set KEY=VALUE`): a study file as plain data, changed key by key before it is checked."""

import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote

from foldrace.studies.data import PATH_KEYS
from foldrace.studies.sections import is_sample
from foldrace.studies.settings import SHOWN
from foldrace.studies.study import StudyError, is_file

_PATHS = {f"data.{key}" for key in PATH_KEYS}
_RELATIVE_SQLITE = re.compile(r"sqlite:///(?!:memory:)([^/?].*)", re.DOTALL)


def parse_override(text: str) -> tuple[str, Any]:
    """The key and the value of `KEY=VALUE`, as `--set` takes it. Raises StudyError."""
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", key):
        raise StudyError(f"--set {text}: expected KEY=VALUE, as in --set training.lr=3e-5")
    is_path = key in _PATHS and not value.startswith("[")  # a list is one of paths
    return key, value if is_path else _value(key, value)


def apply_override(raw: dict[str, Any], key: str, value: Any) -> None:
    """Set a key of `raw`, where a relative path starts at the current folder.

    A knob that it fixes leaves the baseline, and so does one that is never searched with that value.

    Raises:
        StudyError: the key lies in a value.
    """
    if key in _PATHS:
        value = absolute(value, Path())
    elif key == "search.prior" and isinstance(value, list):
        value = with_absolute_files(value, Path())
    elif key == "final.submission" and isinstance(value, str) and is_sample(value):
        value = str(Path(value).absolute())
    elif key == "search.storage":
        value = absolute_storage(value, Path())
    set_key(raw, key, value)
    section, _, knob = key.partition(".")
    if section == "training" and not isinstance(value, dict):
        for dropped in (knob, *_never_searched(raw, knob, value)):
            _drop_from_baseline(raw, dropped)


def absolute(value: Any, folder: Path) -> Any:
    """A path, or each of a list, that begins at a folder; what is neither stays."""
    if isinstance(value, list | tuple):
        return [absolute(one, folder) for one in value]
    return str((folder / value).absolute()) if isinstance(value, str | Path) else value


def with_absolute_files(priors: list[Any], folder: Path) -> list[Any]:
    """The entries of `search.prior`, with files that begin at a folder."""
    return [str((folder / one).absolute()) if isinstance(one, str) and is_file(one) else one for one in priors]


def absolute_storage(storage: Any, folder: Path) -> Any:
    """The URL of a database, where the path of an SQLite file begins at a folder; what is none stays."""
    match = _RELATIVE_SQLITE.fullmatch(storage) if isinstance(storage, str) else None
    return f"sqlite:///{quote(str(folder.absolute()))}/{match[1]}" if match else storage


def set_key(raw: dict[str, Any], key: str, value: Any) -> None:
    """Set a key such as `training.lr` in `raw`; no section that others hold is changed. Raises StudyError."""
    *sections, last = key.split(".")
    for section in sections:
        inner = raw.get(section, {})
        if not isinstance(inner, dict):
            raise StudyError(f"--set {key}: {section} is a value, not a section")
        raw[section] = dict(inner)
        raw = raw[section]
    raw[last] = value


def _never_searched(raw: dict[str, Any], fixed: str, value: Any) -> list[str]:
    """The knobs that are searched only with other values of a knob that is now fixed."""
    found, training = [], raw["training"]
    for knob, setting in training.items() if isinstance(training, dict) else ():
        match setting:
            case {"when": dict(when)} if fixed in when:
                wanted = when[fixed]
                found += [] if value == wanted or (isinstance(wanted, list) and value in wanted) else [knob]
    return found


def _drop_from_baseline(raw: dict[str, Any], knob: str) -> None:
    """Take a knob out of the baselines. What is fixed is searched no more, and a baseline has searched knobs alone."""
    match raw:
        case {"search": {"baseline": dict(baseline)}}:
            set_key(raw, "search.baseline", _without(baseline, knob))
        case {"search": {"baseline": list(baselines)}}:
            kept = [_without(baseline, knob) if isinstance(baseline, dict) else baseline for baseline in baselines]
            set_key(raw, "search.baseline", kept)


def _without(baseline: dict[str, Any], knob: str) -> dict[str, Any]:
    return {name: value for name, value in baseline.items() if name != knob}


def _value(key: str, text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # also of thousands of digits or brackets
        if text.startswith(("{", "[", '"', "'")):
            wrong = f"what begins with {text[0]} has to be TOML, found {SHOWN.repr(text)}"
            raise StudyError(f"--set {key}: {wrong}; --set '{key}=VALUE' keeps its quotes from the shell") from None
        return text
