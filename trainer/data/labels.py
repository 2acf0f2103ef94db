"""The labels of a study: their names by class index, and the integers that a submission writes for them.

A label file may come from anywhere, so a `.pkl` is read without executing anything in it.
"""

import io
import json
import pickle
import pickletools
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from unicodedata import normalize

from foldrace.errors import did_you_mean, short_repr
from foldrace.studies.data import Data
from foldrace.trainer.data.formats import DataError, decode, digest_of, read_bytes

MAX_LABEL_FILE_BYTES = 2**20
NO_RELATIONS = ("no_relation", "관계_없음")  # names of the class that micro-F1 leaves out
_GLOBALS = ("GLOBAL", "STACK_GLOBAL", "INST")
# As a key, nested ones are hashed through and through: a hundred bytes hang, a deep one ends the process.
_HASHED_WHOLE = ("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET", "EMPTY_SET", "ADDITEMS")


@dataclass(frozen=True)
class Labels:
    """The names and the codes of the classes.

    Attributes:
        names: by class index.
        codes: by class index, the integers that a submission writes. They differ from the indices where labels are
            excluded.
        digest: the SHA-256 of the bytes of the file that they were read from; empty where no file gave them.
        excluded: what data files write for the labels that are left out: their names and their codes.
    """

    names: tuple[str, ...]
    codes: tuple[int, ...]
    digest: str = field(default="", compare=False)
    excluded: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def no_relation(self) -> int | None:
        """The class that micro-F1 leaves out; None when there is none."""
        return next((self.names.index(name) for name in NO_RELATIONS if name in self.names), None)

    def index(self, name: str) -> int | None:
        """The index of the class of that name; None when there is none."""
        return self.names.index(name) if name in self.names else None

    def find(self, written: str) -> int | None:
        """The index of the class that a data file means, by its name or else by its code; None when there is none."""
        return self._classes.get(written)

    def without(self, excluded: Collection[str]) -> "Labels":
        """The labels without the excluded ones. The others keep their order and their codes."""
        pairs = list(zip(self.names, self.codes, strict=True))
        kept = [pair for pair in pairs if pair[0] not in excluded]
        written = frozenset(str(one) for pair in pairs if pair not in kept for one in pair)
        names, codes = tuple(name for name, _ in kept), tuple(code for _, code in kept)
        return replace(self, names=names, codes=codes, excluded=written)

    @cached_property
    def _classes(self) -> dict[str, int]:
        by_code = {str(code): index for index, code in enumerate(self.codes)}
        return by_code | {name: index for index, name in enumerate(self.names)}


def no_label(key: str, name: str, labels: Labels, data: Data) -> DataError:
    """The error for a label that a key of a study names and its data lacks."""
    near = did_you_mean(name, labels.names)
    return DataError(f"{key}: no label {short_repr(name)} in {data.labels or data.source}{near and ';'}{near}")


def read_labels(path: Path) -> Labels:
    """The labels of a file. Classes are in the order of a list, or of the codes of a map.

    Args:
        path: `.json` holds a list of names, or an object of names and codes; `.pkl` holds a dict of names and codes.

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    if path.suffix not in (".json", ".pkl"):
        raise DataError(f"{path}: expected a label file that ends in .json or .pkl")
    content = read_bytes(path, MAX_LABEL_FILE_BYTES)
    found = _from_json(path, content) if path.suffix == ".json" else _from_pickle(path, content)
    if isinstance(found, list):
        names, codes = found, list(range(len(found)))
    elif isinstance(found, dict):
        names, codes = list(found), list(found.values())
    else:
        raise DataError(f"{path}: expected a list of names, or names with their integers, found {short_repr(found)}")
    names = [normalize("NFC", name) if isinstance(name, str) else name for name in names]
    _check(path, names, codes)
    pairs = sorted(zip(codes, names, strict=True))
    return Labels(tuple(name for _, name in pairs), tuple(code for code, _ in pairs), digest_of(content))


def _check(path: Path, names: list[Any], codes: list[Any]) -> None:
    if not names:
        raise DataError(f"{path}: no labels")
    for name, code in zip(names, codes, strict=True):
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise DataError(f"{path}: expected the name of a label, found {short_repr(name)}")
        if name != name.strip():
            raise DataError(f"{path}: label {short_repr(name)} begins or ends with a space")
        if type(code) is not int or code < 0:
            raise DataError(
                f"{path}: label {short_repr(name)}: expected an integer from 0 up, found {short_repr(code)}"
            )
    for things in (names, codes):
        repeated = [thing for thing, count in Counter(things).items() if count > 1]
        if repeated:
            raise DataError(f"{path}: {short_repr(repeated[0])} stands for more than one label")


def _from_json(path: Path, content: bytes) -> Any:
    try:
        return json.loads(decode(path, content), object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: {error}") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a label stands there more than once")
    return found


class _PlainUnpickler(pickle.Unpickler):
    """Builds dicts, strings and numbers only. It finds no global, so a pickle has nothing that it could call."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {short_repr(f'{module}.{name}')}, which is never loaded")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside the file")


def _from_pickle(path: Path, content: bytes) -> Any:
    try:
        for opcode, argument, _ in pickletools.genops(content):
            # Unpickling would reserve memory for so many objects.
            if opcode.name.endswith("PUT") and int(argument or 0) > len(content):
                raise pickle.UnpicklingError(f"memo index {argument} in {len(content)} bytes")
            if opcode.name in _GLOBALS:
                break  # the unpickler refuses it
            if opcode.name in _HASHED_WHOLE:
                raise pickle.UnpicklingError(f"it holds a tuple or a set ({opcode.name})")
        return _PlainUnpickler(io.BytesIO(content)).load()
    except Exception as error:  # damaged bytes raise nearly anything
        raise DataError(f"{path}: not a plain pickled dict of names and integers: {error}") from None
