"""The sections [model], [folds], [final] and [slurm] of a study."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from foldrace.errors import short_repr
from foldrace.studies.data import Section, Task
from foldrace.studies.durations import parse_duration


def _like(pattern: str, right: str) -> AfterValidator:
    """A text that matches a pattern; else the message says what is `right`."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(f"expected {right}; found {short_repr(text)}")
        return text

    return AfterValidator(check)


Word = Annotated[str, _like(r"[\w.,@+:/-]+", "letters, digits and . , @ + : / - _")]
Line = Annotated[str, _like(r"[^\x00-\x08\n-\x1f\x7f]+", "one line")]
Memory = Annotated[str, _like(r"[0-9]+[KMGT]?", "a size such as 32G")]
TINY = "tiny"  # the model that is built here, and learns its pieces from the study's rows
FORMS = ("pred", "probs", "labels")  # of a submission
MAX_TASKS = 1000  # of a job array


def is_sample(submission: str) -> bool:
    """Whether `final.submission` is a file; else it is one of `FORMS`."""
    return submission.lower().endswith(".csv")


class Model(Section):
    """A name on the hub, a folder, or `tiny`; sentences are cut at `max_length` tokens.

    Attributes:
        vocabulary: of `tiny`, the most pieces that its tokenizer learns from the study's rows; None: 6,000.
    """

    name: str = Field(TINY, min_length=1)
    max_length: int = Field(128, ge=8, le=8192)
    vocabulary: int | None = Field(None, ge=100, le=200_000)

    @model_validator(mode="after")
    def _only_tiny_learns_its_pieces(self) -> Self:
        if self.vocabulary is not None and self.name != TINY:
            raise ValueError(f"vocabulary: {self.name} has pieces of its own; only {TINY} learns them, so leave it out")
        return self


class Folds(Section):
    """How the rows are split. One seed rules the split, the initial weights and the order of the batches."""

    count: int = Field(5, ge=2, le=100)
    seed: int = Field(77, ge=0, lt=2**31)
    oversample_minority: bool = True
    leaky_oversampling: bool = False


class Final(Section):
    """The final job: its folds and seeds, how the models vote, and the format of the submission.

    Attributes:
        validation: False: one model of each seed is trained on all rows, none is held out, and nothing is scored.
        submission: `pred`: the codes of the labels alone; `probs`: id, label and the probabilities of all; `labels`: id
            and label; or a .csv file whose columns, rows and form of labels it takes. None: `pred` of relations, else
            `labels`.
    """

    folds: int = Field(8, ge=2, le=100)
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field((77,), min_length=1, max_length=100)
    validation: bool = True
    vote: Literal["probabilities", "logits"] = "probabilities"
    submission: str | None = None

    @property
    def models(self) -> int:
        """The models of each seed: one for each fold, or one alone of all rows."""
        return self.folds if self.validation else 1

    def form(self, task: Task) -> str:
        """The form of the submission: of relations by default `pred`, of all else `labels`."""
        return self.submission or ("pred" if task == "relation" else "labels")

    @field_validator("submission")
    @classmethod
    def _is_a_form_or_a_file(cls, submission: str | None) -> str | None:
        if submission is not None and submission not in FORMS and not is_sample(submission):
            raise ValueError(f"expected {', '.join(FORMS)}, or a sample's .csv file; found {submission!r}")
        return submission

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        repeated = next((seed for seed in seeds if seeds.count(seed) > 1), None)
        if repeated is not None:
            raise ValueError(f"the seed {repeated} is listed twice; its folds would vote twice")
        return seeds


class Slurm(Section):
    """A job array, one task for each worker.

    Attributes:
        partition, account: those of Slurm; None: its default.
        gpus: of each worker; 0 asks for none.
        cpus, memory: of each worker; None: the cluster's default.
        time: the limit of one life of a worker, such as `11h`; None: the partition's.
        tasks: how many workers.
        setup: lines of the shell before the worker starts.
        extra: further options of sbatch.
    """

    partition: Word | None = None
    gpus: int = Field(1, ge=0)
    cpus: int | None = Field(None, ge=1)
    memory: Memory | None = None
    time: str | None = None
    tasks: int = Field(8, ge=1, le=MAX_TASKS)
    account: Word | None = None
    setup: tuple[Line, ...] = ()
    extra: tuple[Line, ...] = ()

    @property
    def seconds(self) -> float | None:
        """The time limit."""
        return None if self.time is None else parse_duration(self.time)

    @field_validator("time")
    @classmethod
    def _is_a_duration(cls, time: str | None) -> str | None:
        try:
            if time is not None and parse_duration(time) < 60:
                raise ValueError
        except ValueError:
            raise ValueError(f"expected a duration of a minute or more, such as 11h or 90m; found {time!r}") from None
        return time

    @field_validator("extra")
    @classmethod
    def _are_options(cls, extra: tuple[str, ...]) -> tuple[str, ...]:
        wrong = next((option for option in extra if not re.match(r"--[a-z]", option)), None)
        if wrong is not None:
            raise ValueError(f"expected options of sbatch, such as --constraint=a100; found {wrong!r}")
        return extra
