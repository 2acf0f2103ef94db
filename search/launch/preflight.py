"""Describes a study before it runs: its data, folds and knobs, and an estimate of its time on this device."""

import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from foldrace.search.launch.fold_counts import FoldComparison, compare_folds, expected_epochs, plan_of
from foldrace.search.words import another_words, counted, duration, span
from foldrace.search.workers.slots import Slot
from foldrace.studies.data import Task
from foldrace.studies.knobs import Hyperparameters
from foldrace.studies.settings import Choices, Range, condition_words, setting_words
from foldrace.studies.study import Study
from foldrace.trainer.data.contradictions import describe_contradictions
from foldrace.trainer.data.examples import Examples
from foldrace.trainer.data.extra import describe_extra, warn_of_test_copies
from foldrace.trainer.data.folds import FoldPlan, normalise_sentence
from foldrace.trainer.data.labels import NO_RELATIONS
from foldrace.trainer.evaluation import EvaluationRecord
from foldrace.trainer.modeling.classifier import check_source
from foldrace.trainer.modeling.devices import DeviceError, autocast_dtype, resolve_device
from foldrace.trainer.training.loop import train_fold
from foldrace.trainer.training.tasks import FoldTask, NoRoomError, Progress
from foldrace.trainer.training_data import TrainingData, excluded_rows, invented_codes

# Steps that are not timed, and that are. A CUDA device is fast from the second step of a length on.
TIMING = {"cpu": (3, 8), "cuda": (24, 24)}
_ROW: Mapping[Task, str] = {"relation": "row", "text": "text", "pair": "pair"}


@dataclass(frozen=True)
class TimeEstimate:
    """The time that a study would take one worker, without pruning.

    Attributes:
        rows_per_second: of training, from a few steps of the real model; None where a fold has too few to time.
        precision: of the computation on this device, `bf16` or `fp32`.
        fold_epochs: passes over a training part, over all trials and folds, at the mean of the searched epochs.
        hours: of one worker; None without a speed.
    """

    rows_per_second: float | None
    precision: str
    fold_epochs: float
    hours: float | None


@dataclass(frozen=True)
class Preflight:
    """A study before it runs, and the slots of the workers that would run it here. As text, it is all lines.

    Attributes:
        changes: what it has otherwise than the run of its name, in words; empty where nothing differs.
        priors: what each prior would give, a line each.

    Raises:
        DataError: at `estimate`, where more of the tokens is unknown than the study allows.
        ModelError: at `estimate`, where the model lacks what a knob changes, or cannot do what trials ask of it.
        DeviceError: at `estimate`, where the device does not work, or has no room for the model.
    """

    data: TrainingData
    slots: tuple[Slot, ...]
    changes: str = ""
    priors: tuple[str, ...] = ()

    @cached_property
    def estimate(self) -> TimeEstimate:
        """Measured when it is first asked for, by a few steps."""
        self.data.refuse_unknown()
        check_source(self.data.source, *self.data.study.furthest)
        return estimate_time(self.data, self.slots[0])

    def __str__(self) -> str:
        return "\n".join([*self.description, *describe_estimate(self.data.study, self.estimate, self.slots)])

    def compare_folds(self, counts: Sequence[int]) -> FoldComparison:
        """What a trial would cost with other numbers of folds, and which rows would judge it."""
        return compare_folds(self.data, counts)

    @property
    def description(self) -> list[str]:
        """The data, folds and knobs, a line each, without the time."""
        lines = describe_study(self.data)
        if self.changes:
            there = f"a run of this name is there with other settings: {self.changes}"
            lines.append(f"edited    {there}; `run` refuses this one, {another_words(self.data.study.name)}")
        return [*lines, *self.priors]


def estimate_time(data: TrainingData, slot: Slot) -> TimeEstimate:
    """Time a few steps in a worker's slot, and extrapolate to the search or the final job: training, no evaluations.

    Raises:
        DeviceError: the device does not work, or has no room for the model.
    """
    resolve_device("cpu" if slot.device == "cpu" else "cuda")
    plan = plan_of(data)
    torch.set_num_threads(slot.threads)
    task = data.task(typical_knobs(data.study), plan, 0, slot.device)
    try:
        seconds = _seconds_per_step(task)
    except NoRoomError as error:
        raise DeviceError(str(error)) from None
    precision = "fp32" if autocast_dtype(task.knobs, torch.device(slot.device)) is None else "bf16"
    trials = data.study.search.trials if data.study.searched else len(data.study.final.seeds)
    models = plan.count or 1  # of all rows
    fold_epochs = expected_epochs(data.study) * models * trials
    rows = statistics.mean(len(plan.training(fold)) for fold in range(models))
    if seconds is None:
        return TimeEstimate(None, precision, fold_epochs, None)
    rate = min(task.knobs.batch_size, len(task.training)) / seconds
    return TimeEstimate(rate, precision, fold_epochs, fold_epochs * rows / rate / 3600)


def describe_estimate(study: Study, estimate: TimeEstimate, slots: Sequence[Slot]) -> list[str]:
    """The compute and the time of a study, a line each; `slots` are those of the workers that would run here."""
    budget = counted(study.search.trials, "trial") if study.searched else "a final job"
    ends, hours = _latest_end(study, estimate)
    lines = [f"budget    {budget}, {estimate.fold_epochs:.0f} fold-epochs without pruning{ends}"]
    if estimate.rows_per_second is None or hours is None:
        return [*lines, "speed     not measured: a fold has too few steps to time"]
    seconds = hours * 3600
    together = f", {duration(seconds / len(slots))} for the {len(slots)} that run here" if len(slots) > 1 else ""
    speed = f"{estimate.rows_per_second:.0f} rows/s ({slots[0].device}, {estimate.precision})"
    return [*lines, f"speed     {speed}: {duration(seconds)} for one worker{together}"]


def _latest_end(study: Study, estimate: TimeEstimate) -> tuple[str, float | None]:
    """Which budgets end a search before its trials do, in words, and the hours of one worker until then."""
    search, hours, ends = study.search, estimate.hours, list[str]()
    if not study.searched:
        return "", hours
    if search.fold_epochs is not None and search.fold_epochs < estimate.fold_epochs:
        ends.append(f"{search.fold_epochs:g} fold-epochs")
        hours = None if hours is None else hours * search.fold_epochs / estimate.fold_epochs
    if search.gpu_hours is not None and (hours is None or search.gpu_hours < hours):
        ends.append(f"{search.gpu_hours:g} GPU hours")
        hours = None if hours is None else search.gpu_hours
    return f"; it ends after {' or '.join(ends)} at the latest" if ends else "", hours


def typical_knobs(study: Study) -> Hyperparameters:
    """The knobs of a trial to time: the baseline, and the low end of each knob that it leaves open."""
    low = {knob: s.low if isinstance(s, Range) else s.choices[0] for knob, s in study.searched.items()}
    return study.hyperparameters({**low, **next(iter(study.search.baseline), {})})


def describe_study(data: TrainingData) -> list[str]:
    """The data, the folds and the knobs, a line each."""
    study, rows, plan = data.study, data.examples.rows, plan_of(data)
    names = data.examples.labels.names
    counts = Counter(names[row.label] for row in rows if row.label is not None)
    (most, many), (least, few) = counts.most_common()[0], counts.most_common()[-1]
    copies = len(rows) - len({normalise_sentence(row.sentence) for row in rows})
    tokens = data.encoded(typical_knobs(study).entity_marking)
    lines = [
        f"data      {counted(len(rows), _ROW[data.examples.task])}, {counted(len(counts), 'label')}: "
        f"{most} {many / len(rows):.1%} ... {least} {counted(few, 'row')}",
        f"          {counted(copies, 'repeated sentence')}{_spans(data.examples)}",
        f"          test: {'none' if data.test is None else counted(len(data.test.rows), 'row')}",
        f"model     {study.model.name}, {len(data.tokenizer)} pieces; {tokens.lengths.mean():.0f} tokens a row, "
        f"{data.describe_unknown()}; {counted(tokens.truncated, 'row')} cut at {study.model.max_length}",
        f"folds     {_folds(plan)}{_repeated(plan)}",
    ]
    lines[3:3] = warn_of_test_copies(data.examples, data.test)
    if contradictions := describe_contradictions(data.examples):
        lines.insert(2, f"          {contradictions}")
    if study.data.exclude_labels:
        lines.insert(1, f"          excluded {excluded_rows(data)} ({data.examples.outside})")
    if study.data.extra:
        lines.insert(1, f"          extra: {describe_extra(data.examples)}")
    if invented_codes(data):
        lines.insert(1, f"          labels: {invented_codes(data)}")
    if study.search.metric == "micro_f1" and data.examples.labels.no_relation is None:
        lines.insert(1, f"          metric: micro_f1 is accuracy here, as no label is called {NO_RELATIONS[0]}")
    if plan.pinned_labels:
        lines.append(f"          too rare to score, kept in training: {', '.join(plan.pinned_labels)}")
    if study.folds.leaky_oversampling:
        lines.append("          leaky_oversampling: copies cross the folds, so the score is optimistic")
    lines += [f"searched  {knob}: {setting_words(setting)}" for knob, setting in study.searched.items()]
    never = {k: s for k, s in study.training.items() if isinstance(s, Range | Choices) and k not in study.searched}
    return lines + [f"never     {knob}: is searched only when {condition_words(s.when)}" for knob, s in never.items()]


def _folds(plan: FoldPlan) -> str:
    if not plan.count:
        return f"none: each model is trained on all rows, {len(plan.training(0))}, and has no score"
    training = [len(plan.training(fold)) for fold in range(plan.count)]
    validation = [len(plan.validation(fold)) for fold in range(plan.count)]
    parts = f"training {span(min(training), max(training))} rows, validation {span(min(validation), max(validation))}"
    return f"{plan.count}: {parts}"


def _repeated(plan: FoldPlan) -> str:
    repeated = int((np.bincount(plan.rows, weights=plan.rounds) > 1).sum())
    return f" ({counted(repeated, 'row')} of rare labels repeated in training)" if repeated else ""


def _spans(examples: Examples) -> str:
    if examples.task != "relation":
        return ""
    repaired = counted(examples.repaired, "span")
    return f"; {repaired} repaired, {len(examples.mismatched)} that do not match their entity"


def _seconds_per_step(task: FoldTask) -> float | None:
    """The median of a few steps after a warm-up; None without such steps. Evaluations are not counted."""
    seconds, before = list[float](), object()
    warm_up, count = TIMING[task.device]
    with closing(train_fold(task, progress_seconds=0)) as events:
        last = time.perf_counter()
        for event in events:
            trains = isinstance(event, Progress) and not isinstance(before, EvaluationRecord)
            if trains:
                seconds.append(time.perf_counter() - last)
            if len(seconds) >= warm_up + count:
                break
            before, last = event, time.perf_counter()
    timed = seconds[warm_up:] or seconds
    return statistics.median(timed) if timed else None
