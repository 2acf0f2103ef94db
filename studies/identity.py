"""What makes two studies the same one: their data, folds, model, knobs, metric, seed and baseline.

Budgets and places (trials, storage, workspace), pruner and trackers may change between calls. Data is known by its
content, so a file may move. A key that a stored identity does not have counts as its default: a key may be added,
and what was stored before is the same study still.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from foldrace.studies.data import Data
from foldrace.studies.knobs import KNOBS_OF_0_1_0, Hyperparameters
from foldrace.studies.study import Study, StudyError

_FILES = ("data.train", "data.test", "data.labels", "data.extra")  # known by the SHA-256 of their content
# Stored with any value, as version 0.1.0 did. A setting that came later is stored where it is not its default.
_SETTINGS_OF_0_1_0 = {
    "data.exclude_labels",
    "model.name",
    "model.max_length",
    "folds.count",
    "folds.seed",
    "folds.oversample_minority",
    "folds.leaky_oversampling",
    *(f"training.{knob}" for knob in KNOBS_OF_0_1_0),
    "search.metric",
    "search.seed",
    "search.baseline",
}


@dataclass(frozen=True)
class Identity:
    """What makes a study the same one.

    Attributes:
        values: JSON by key, such as `training.lr`; every setting that this version knows, and the files of the data.
        paths: where the files lie, by key; for people.
    """

    values: Mapping[str, str]
    paths: Mapping[str, tuple[Path, ...]] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, study: Study, read: Mapping[str, str] | None = None) -> Self:
        """The identity of a study.

        Args:
            read: the digest of the files that were read already, by key; such files are not read once more.

        Raises:
            StudyError: a data file cannot be read.
        """
        paths, read = dict(_files(study)), read or {}
        digests = {key: json.dumps(read.get(key) or _digest(files)) for key, files in paths.items()}
        return cls(_settings(study) | digests, paths)

    @classmethod
    def from_json(cls, stored: Mapping[str, str], source: str) -> Self:
        """The identity that any version has stored; `source` is named in errors.

        Raises:
            StudyError: a newer foldrace stored it, with a key that this version does not know.
        """
        defaults = _defaults()
        unknown = sorted(stored.keys() - defaults.keys() - set(_FILES))
        if unknown:
            raise StudyError(f"{source}: {unknown[0]}: unknown key; a newer foldrace made it, so update foldrace")
        return cls({**defaults, **stored})

    def to_json(self) -> dict[str, str]:
        """What is stored, the same in every version that knows the keys which are not their defaults."""
        defaults = _defaults()
        return {k: v for k, v in self.values.items() if k in _SETTINGS_OF_0_1_0 or v != defaults.get(k)}

    def hash(self) -> str:
        """The SHA-256 of what is stored, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def changes_since(self, before: "Identity") -> list[str]:
        """What has changed since the identity `before`, a readable clause each."""
        now, then = self.values, before.values
        keys = [key for key in (*now, *(then.keys() - now.keys())) if now.get(key) != then.get(key)]
        return [
            f"the content of {key} has changed{self._places(key)}"
            if key in _FILES and key in now and key in then
            else f"{key} is {now.get(key, 'absent')}, was {then.get(key, 'absent')}"
            for key in keys
        ]

    def _places(self, key: str) -> str:
        return f" ({', '.join(map(str, self.paths[key]))})" if key in self.paths else ""

    def words_since(self, before: "Identity") -> str:
        """The changes, at most three; of more the first and their number; empty where nothing has changed."""
        changes = self.changes_since(before)
        return ", and ".join(changes) if len(changes) <= 3 else f"{changes[0]} (and {len(changes) - 1} more)"


def _settings(study: Study) -> dict[str, str]:
    """JSON by key, without the files of the data."""
    # As the knobs have them: 1 and 1.0 are the same learning rate.
    training = Hyperparameters.model_validate(study.fixed).model_dump() | {
        knob: setting.model_dump(exclude_defaults=True) for knob, setting in study.searched.items()
    }
    baselines = [Hyperparameters.model_validate(b).model_dump(include=set(b)) for b in study.search.baseline]
    baseline = baselines if len(baselines) > 1 else next(iter(baselines), {})
    sections: dict[str, dict[str, Any]] = {
        "data": {
            "exclude_labels": study.data.exclude_labels,
            "task": study.data.task,
            "columns": study.data.columns.given,
            "inverse": study.data.inverse,
            "morphemes": study.data.morphemes,
        },
        "model": study.model.model_dump(),
        "folds": study.folds.model_dump(),
        "training": training,
        # Of a final job; a search is the same one, whatever its final job will be.
        "final": {"validation": study.final.validation or bool(study.searched)},
        "search": {"metric": study.search.metric, "seed": study.search.seed, "baseline": baseline},
    }
    return {f"{s}.{k}": json.dumps(v, ensure_ascii=False) for s, kv in sections.items() for k, v in kv.items()}


def _defaults() -> dict[str, str]:
    """The settings of a study file that gives none."""
    return _settings(Study(name="defaults", data=Data(train=Path())))


def _files(study: Study) -> Iterator[tuple[str, tuple[Path, ...]]]:
    for key, files in study.data.files.items():
        # A final job predicts the test rows. Of extra rows, those that are copies of test rows are left out.
        if key != "test" or not study.searched or study.data.extra:
            yield f"data.{key}", files


def joint_digest(digests: Sequence[str]) -> str:
    """The digest of files in their order; of one file, its SHA-256."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _digest(files: tuple[Path, ...]) -> str:
    return joint_digest([_digest_of_one(path) for path in files])


def _digest_of_one(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StudyError(f"{path}: cannot be read: {error.strerror}") from None
