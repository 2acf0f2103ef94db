"""A small search by folds in a folder of its own, whose worker processes a test begins and ends."""

import random
import re
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from foldrace.storage import tables
from foldrace.storage.database import Database
from foldrace.storage.leases.lease import OWNED
from foldrace.storage.optuna_rows import cell_key, final_key
from foldrace.studies.loading import load
from foldrace.studies.study import Study
from foldrace.trainer.results import RESULT_FILE
from tests.support.commands import begin_foldrace, quicken_heart
from tests.support.killing import Moment, signal_at

NAME, EVALUATIONS, LEASE_SECONDS = "small", 4, 4
LOOKS_OF_A_LEASE = 30  # one each 0.3 s; it counts twice while there are folds to rank
STUDY = f"""
name = "{NAME}"
data = {{ train = "train.csv" }}
model = {{ max_length = 12 }}
folds = {{ count = 2 }}
[training]
batch_size = 4
epochs = 2
evaluations = {EVALUATIONS}
lr = 2e-3
dropout = {{ low = 0.0, high = 0.2 }}
label_smoothing = {{ low = 0.0, high = 0.3 }}
[search]
trials = 5
finals = 2
checkpoint_minutes = 0
lease_seconds = {LEASE_SECONDS}
"""
WORDS = {"fruit": "apple pear plum fig kiwi", "tree": "oak ash elm fir yew", "metal": "iron gold zinc lead tin"}
OF_A_WORKER = re.compile(r"fold\d+/seconds|seconds_recording|worker|attempts")  # attributes that tell of who ran it
Fold = tuple[int, int]  # the number of its trial, and its own


class LiveSearch:
    """A search, its workers, and what they said; worker 2 is called `worker-2`."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self._url, self.database = folder, url, Database.open(url)
        self.workers: list[ForkProcess] = []
        self._study_file = folder / f"{NAME}.toml"
        self._study_file.write_text(STUDY, encoding="utf-8")
        (folder / "train.csv").write_text(_texts(rows=64), encoding="utf-8")

    def begin(self, moment: Moment | None = None) -> ForkProcess:
        """Begin a worker; at the moment it gets its signal."""

        def prepare() -> None:
            quicken_heart()
            if moment is not None:
                signal_at(moment)

        name = f"worker-{len(self.workers)}"
        command = ["worker", str(self._study_file), "--device", "cpu", "--owner", name]
        with (self.folder / f"{name}.log").open("w") as log:
            command += ["--set", f"search.storage={self._url}"]
            self.workers.append(begin_foldrace(self.folder, command, log.fileno(), log.fileno(), prepare))
        return self.workers[-1]

    def close(self) -> None:
        """End the workers that are left."""
        for worker in self.workers:
            worker.kill()
            worker.join()
        self.database.close()

    def said_by(self, worker: int) -> str:
        return (self.folder / f"worker-{worker}.log").read_text(encoding="utf-8")

    def attempts(self) -> dict[Fold, int]:
        """The last attempt at each fold, in the order in which the folds were begun."""
        said = "".join(self.said_by(worker) for worker in range(len(self.workers)))
        found = re.findall(r"trial (\d+), attempt (\d+), fold (\d+)", said)
        return {(int(number), int(fold)): int(attempt) for number, attempt, fold in found}

    def resumed_by(self, worker: int) -> list[tuple[Fold, int]]:
        """The folds that a worker went on with from a checkpoint, and the step of it."""
        found = re.findall(r"trial (\d+) goes on in fold (\d+), at step (\d+)", self.said_by(worker))
        return [((int(number), int(fold)), int(step)) for number, fold, step in found]

    def results(self) -> dict[Fold, Path]:
        """The files of the folds that were trained to their end."""
        found = self.folder.glob(f"runs/{NAME}/trial-*/fold-*/{RESULT_FILE}")
        return {(int(path.parts[-3][-5:]), int(path.parts[-2][-1])): path for path in found}

    def newest_step(self, fold: Fold) -> int | None:
        """The step of the newest checkpoint of a fold; None: it has none."""
        files = self.folder.glob(f"runs/{NAME}/trial-{fold[0]:05}/fold-{fold[1]}/attempt-*/checkpoint-*.safetensors")
        return max((int(path.stem[-8:]) for path in files), default=None)

    def trials(self) -> list[dict[str, Any]]:
        """All that is stored of each trial, but for times and for who ran it."""
        storage = self.database.storage
        return [
            {"number": trial.number, "state": trial.state.name, "value": trial.value, "sampled": trial.params}
            | {"reports": trial.intermediate_values}
            | {key: value for key, value in trial.user_attrs.items() if not OF_A_WORKER.fullmatch(key)}
            for trial in storage.get_all_trials(storage.get_study_id_from_name(NAME))
        ]

    def study(self) -> Study:
        return load(self._study_file, [f"search.storage={self._url}"])

    def stored(self, fold: Fold) -> int:
        """How many evaluations of a fold are stored."""
        trial = self.trials()[fold[0]]
        return sum(cell_key(fold[1], index) in trial for index in range(EVALUATIONS))

    def finals(self) -> list[Fold]:
        """The folds that went to the finals."""
        return [(trial["number"], fold) for trial in self.trials() for fold in range(2) if final_key(fold) in trial]

    def in_work(self) -> list[Fold]:
        """The folds whose workers work, or died."""
        trials, leases = tables.trials.c, tables.leases.c
        query = sa.select(trials.number, leases.fold).join(tables.trials, trials.trial_id == leases.trial_id)
        rows = self._read(query.where(leases.state.in_(OWNED)))
        return [(row.number, row.fold) for row in rows]

    def looks(self, worker: int) -> int:
        """How often a worker has looked for something to train."""
        workers = tables.workers.c
        rows = self._read(sa.select(workers.counter).where(workers.owner == f"worker-{worker}"))
        return int(rows[0].counter) if rows else 0

    def _read(self, query: "sa.Select[Any]") -> "list[sa.Row[Any]]":
        return self.database.read(lambda connection: list(connection.execute(query).all()))


def _texts(rows: int) -> str:
    """Rows of a data file: four words each, of which one in five is of any label."""
    chance, words = random.Random(0), [word for kind in WORDS.values() for word in kind.split()]
    lines = ["text,label"]
    for row in range(rows):
        label = chance.choice(list(WORDS))
        drawn = [chance.choice(WORDS[label].split() if chance.random() < 0.8 else words) for _ in range(4)]
        lines.append(f"{' '.join(drawn)} {row},{label}")
    return "\n".join(lines) + "\n"
