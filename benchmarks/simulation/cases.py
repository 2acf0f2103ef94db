"""Which studies a simulation plays, and what became of each; kept in a file of JSON lines, so that a run goes on."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks import recordings, replay, simulation
from benchmarks.recordings import CurveError
from foldrace.search import race, sampler

_SOURCES = tuple(Path(module.__file__ or "").parent for module in (simulation, race, sampler))
_FILES = (Path(recordings.__file__), Path(replay.__file__))


@dataclass(frozen=True)
class Case:
    """One study: a strategy on a simulated data set.

    Attributes:
        curves: the curve file.
        truth: the kind of truth that is fitted to it.
        noise: the size of the folds' noise, 1 as recorded.
        world: the number of the simulated data set.
        seed: of the study; strategies are compared on the same worlds and seeds.
        workers: simulated ones.
        trials: of the study, at most.
    """

    curves: str
    truth: str
    noise: float
    world: int
    seed: int
    strategy: str
    workers: int
    trials: int

    @property
    def study_seed(self) -> int:
        """The study's own: no two worlds have it in common, lest one lucky draw counts as many."""
        world = f"{Path(self.curves).name}/{self.truth}/{self.noise:g}/{self.world}/{self.seed}"
        return int.from_bytes(sha256(world.encode()).digest()[:4]) // 2


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        start: points that a configuration drawn at random lies below the best one.
        spent: (steps,), fold-epochs of all workers when a trial ended, or a fold of it.
        clock: (steps,), fold-epochs that had gone by.
        shortfalls: (steps,), points that the configuration that an export would choose then lies below the best one.
        trials: (steps,), that had ended, or were put aside.
        seconds: CPU time of the simulation.
    """

    start: float
    spent: tuple[float, ...]
    clock: tuple[float, ...]
    shortfalls: tuple[float, ...]
    trials: tuple[int, ...]
    seconds: float


class Results:
    """Outcomes by case, in a file that is only appended to.

    What another version of the code gave does not count: each line has a fingerprint of the code and of the curves.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._code = path, _fingerprint()
        self.outcomes: dict[Case, Outcome] = {}
        if path.exists():
            self._read()

    def add(self, case: Case, outcome: Outcome) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = {"code": self._code, "curves": _digest([Path(case.curves)])}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line | {"case": asdict(case), "outcome": asdict(outcome)}) + "\n")
        self.outcomes[case] = outcome

    def missing(self, cases: Iterable[Case]) -> list[Case]:
        return [case for case in cases if case not in self.outcomes]

    def _read(self) -> None:
        digests: dict[str, str] = {}
        for text in self._path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
                case, raw = Case(**line["case"]), line["outcome"]
                outcome = _outcome(raw)
            except (ValueError, KeyError, TypeError):
                continue  # cut short when a run was ended; it is played again
            if case.curves not in digests:
                digests[case.curves] = _digest([Path(case.curves)]) if Path(case.curves).exists() else ""
            if line.get("code") == self._code and line.get("curves") == digests[case.curves]:
                self.outcomes[case] = outcome


def _outcome(raw: dict[str, Any]) -> Outcome:
    lists = {key: tuple(map(float, raw[key])) for key in ("spent", "clock", "shortfalls")}
    trials = tuple(map(int, raw["trials"]))
    return Outcome(start=float(raw["start"]), trials=trials, seconds=float(raw["seconds"]), **lists)


def _fingerprint() -> str:
    sources = [path for folder in _SOURCES for path in sorted(folder.glob("*.py")) if path.name != "report.py"]
    return _digest([*_FILES, *sources])


def _digest(paths: Iterable[Path]) -> str:
    found = sha256()
    for path in paths:
        try:
            found.update(path.read_bytes())
        except OSError as error:
            raise CurveError(f"{path}: cannot be read: {error}") from None
    return found.hexdigest()[:16]
