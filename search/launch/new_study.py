"""A study file for somebody's data: looks at the rows, fits the search to them and to a time, and says what it saw."""

import json
import math
import os
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import ValidationError

from foldrace.search.launch.data_files import find_data, study_name
from foldrace.search.launch.preflight import TimeEstimate, describe_study, estimate_time
from foldrace.search.words import counted, duration
from foldrace.search.workers.slots import Slot, slots
from foldrace.storage.files.atomic import atomic_write
from foldrace.storage.workspace import Workspace
from foldrace.studies.data import PATH_KEYS, Columns, Data, Task
from foldrace.studies.loading import parse
from foldrace.studies.messages import explain
from foldrace.studies.sections import TINY
from foldrace.studies.study import NAME, NAME_RULE, Study, StudyError
from foldrace.trainer.data.examples import DataError
from foldrace.trainer.data.folds import FoldError
from foldrace.trainer.hub import GIVE_FOLDER, ModelError
from foldrace.trainer.modeling.classifier import longest_input
from foldrace.trainer.training_data import TrainingData, open_training_data

_NONE: Mapping[str, str] = MappingProxyType({})
RACED = 0.5  # of the time that all trials would take whole; the demo's race takes .42, and evaluations come on top
FEWEST_TRIALS, USEFUL_TRIALS, MOST_TRIALS = 8, 16, 60
_LONGEST, _LENGTH_STEP, _COVERED = 512, 16, 99.5  # tokens, tokens, percent of the rows


@dataclass(frozen=True)
class Plan:
    """How much a study trains; the least and the most epochs of a trial."""

    trials: int = 24
    folds: int = 5
    final_folds: int = 8
    low_epochs: int = 6
    high_epochs: int = 16
    batch_size: int = 16
    max_length: int = _LONGEST
    longest: int = _LONGEST  # tokens of a row, cut at what a model can take
    rare: tuple[str, ...] = ()  # labels that are not in the validation rows of every fold
    task: Task = "text"

    @property
    def epochs(self) -> float:
        """The mean of a trial's."""
        return (self.low_epochs + self.high_epochs) / 2

    def shortened(self, share: float) -> "Plan":
        """With fewer epochs."""
        low = max(2, round(self.low_epochs * share))
        return replace(self, low_epochs=low, high_epochs=max(low + 1, round(self.high_epochs * share)))


@dataclass(frozen=True)
class NewStudy:
    """A study file that was written. As text, it is what was found, a line each.

    Attributes:
        found: about the data, the model and the folds, and about the time where one was given.
    """

    path: Path
    study: Study
    found: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([*self.found, f"wrote     {self.path}"])


def new_study(
    source: Path, model: str, minutes: float | None, output: Path | None, columns: Mapping[str, str] = _NONE
) -> NewStudy:
    """Write a study file for the data of a folder, or of a training file.

    Args:
        columns: the names of columns that are not the usual ones, by what they are: label, text.
        minutes: fit the search to so many on the devices of this machine.
        output: the file; NAME.toml in the current folder, called after the data.

    Raises:
        StudyError: the file is there already, there is no training file, or the time is too short for a search.
        DataError: the rows have a fault.
        ModelError: the model cannot be loaded.
    """
    if minutes is not None and not 0 < minutes < math.inf:
        raise StudyError(f"--minutes {minutes:g}: expected a number above 0")
    files = find_data(source).model_copy(update={"columns": _columns(columns)})
    path = output or Path(f"{study_name(files)}.toml")
    path = path if path.suffix else path.with_name(f"{path.name}.toml")
    if path.suffix != ".toml" or not re.fullmatch(NAME, path.stem):
        raise StudyError(f"--output {path}: expected NAME.toml; of the name, {NAME_RULE}")
    if path.exists():
        raise StudyError(f"{path}: is there already; --output OTHER.toml writes another one")
    if model != TINY and Path(model).is_dir():
        model = str(Path(model).absolute())  # the file may be used from any folder
    with TemporaryDirectory() as place:
        data, plan = _look(files, path, model, Workspace(place, path.stem))
        timed: list[str] = []
        if minutes is not None:
            places = slots()
            plan, timed = fit_to(minutes, estimate_time(data, places[0]), plan, places)
        study = _study(files, path, model, plan)
        lines = describe_study(replace(data, study=study, _encoded={}))
    found = (*(line for line in lines if not line.startswith("searched")), *timed)
    atomic_write(path, _text(files, path, model, plan, found))
    return NewStudy(path, study, found)


def _columns(given: Mapping[str, str]) -> Columns:
    unknown = next((part for part in given if part not in Columns.model_fields), None)
    if unknown is not None:
        known = ", ".join(Columns.model_fields)
        raise StudyError(f"--column {unknown}={given[unknown]}: expected one of {known} before =")
    try:
        return Columns.model_validate(given)
    except ValidationError as error:
        raise StudyError(f"--column: {explain(error)}") from None


def _as_options(message: str) -> str:
    """A message whose `data.columns` are what `init` takes: `--column text=NAME`."""
    message = re.sub(r"data\.columns\.(\w+) names", r"--column \1 names", message)
    parts = re.search(r"data\.columns = \{ (.*?) \}", message)
    given = [] if parts is None else [f"--column {part}=NAME" for part in re.findall(r"(\w+) =", parts[1])]
    return message if parts is None else message.replace(parts[0], " ".join(given))


def fit_to(minutes: float, estimate: TimeEstimate, plan: Plan, places: tuple[Slot, ...]) -> tuple[Plan, list[str]]:
    """The plan with as many trials as the time allows, with fewer folds and epochs where that is needed; and why.

    Raises:
        StudyError: not even a small search fits.
    """
    if estimate.hours is None:
        return plan, ["time      not fitted: a fold has too few steps to time"]
    each = estimate.hours * 3600 / estimate.fold_epochs / len(places)  # seconds of a fold's epoch
    affordable = minutes * 60 / each / RACED
    smaller = replace(plan, folds=min(plan.folds, 3))
    candidates = [plan, smaller, plan.shortened(0.5), smaller.shortened(0.5)]
    fitted = [replace(one, trials=int(affordable / (one.folds * one.epochs))) for one in candidates]
    enough = [one for one in fitted if one.trials >= USEFUL_TRIALS]
    chosen = enough[0] if enough else fitted[-1]
    if chosen.trials < FEWEST_TRIALS:
        needed = FEWEST_TRIALS * chosen.folds * chosen.epochs * RACED * each
        fewest = f"{FEWEST_TRIALS} trials of {chosen.folds} folds take about {duration(needed)} here"
        raise StudyError(f"--minutes {minutes:g}: too short for a search; {fewest}")
    chosen = replace(chosen, trials=min(chosen.trials, MOST_TRIALS))
    takes = chosen.trials * chosen.folds * chosen.epochs * RACED * each
    search = f"the search takes about {duration(takes)} with {counted(len(places), 'worker')}"
    final = f"a final job of {chosen.final_folds} folds {duration(chosen.final_folds * chosen.epochs * each)} more"
    return chosen, [f"time      {search} ({places[0].device}), as racing saves about half; {final}"]


def _look(files: Data, path: Path, model: str, workspace: Workspace) -> tuple[TrainingData, Plan]:
    """The rows as the model's tokenizer sees them, and the plan that fits them."""
    plan = Plan() if model == TINY else Plan(low_epochs=4, batch_size=32)
    try:
        data = open_training_data(_study(files, path, model, plan), workspace)
        readable = longest_input(data.source) or _LONGEST
    except ModelError as error:
        raise ModelError(str(error).replace(GIVE_FOLDER, "--model FOLDER")) from error
    except DataError as error:  # there is no study file yet
        raise DataError(_as_options(str(error))) from error
    lengths = np.concatenate([data.encoded("concat").lengths, data.encoded("typed_markers").lengths])
    steps = int(np.ceil(np.percentile(lengths, _COVERED) / _LENGTH_STEP))
    given = {example.fold for example in data.examples.rows if example.fold is not None}
    plan = replace(
        plan,
        task=data.examples.task,
        folds=len(given) or _most_folds(data, (plan.folds, 3, 2)),
        final_folds=len(given) or _most_folds(data, (plan.final_folds, plan.folds, 3, 2)),
        max_length=min(max(steps, 2) * _LENGTH_STEP, readable // _LENGTH_STEP * _LENGTH_STEP, _LONGEST),
        longest=int(lengths.max()),
    )
    plan = replace(plan, rare=tuple(data.plan(plan.folds, data.study.folds.seed).pinned_labels))
    return replace(data, study=_study(files, path, model, plan), _encoded={}), plan


def _most_folds(data: TrainingData, counts: tuple[int, ...]) -> int:
    """The first of the counts into which the rows can be split. Raises FoldError: not even into the last one."""
    *others, last = counts
    for count in others:
        with suppress(FoldError):
            data.plan(count, data.study.folds.seed)
            return count
    data.plan(last, data.study.folds.seed)
    return last


def _study(files: Data, path: Path, model: str, plan: Plan) -> Study:
    raw = tomllib.loads(_text(files, path, model, plan, ()))
    places = {key: str(file.absolute()) for key in PATH_KEYS if (file := getattr(files, key))}
    return parse(raw | {"data": {"columns": files.columns.given, **places}}, str(path))


def _text(files: Data, path: Path, model: str, plan: Plan, found: tuple[str, ...]) -> str:
    paths = {key: _seen_from(path.parent, file) for key in PATH_KEYS if (file := getattr(files, key))}
    template = _environment().get_template("study.toml")
    named = {"columns": files.columns.given, "name": path.stem, "file": path.name, "model": model, "plan": plan}
    return template.render({"test": "", "labels": "", "found": found} | named | paths)


def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("foldrace.search.launch"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["quoted"] = lambda text: json.dumps(text, ensure_ascii=False)
    return found


def _seen_from(folder: Path, file: Path) -> str:
    """A file as a study file in the folder names it: relative where it lies inside."""
    file, folder = file.absolute(), folder.absolute()
    return os.path.relpath(file, folder) if file.is_relative_to(folder) else str(file)
