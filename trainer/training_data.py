"""The data of a study, ready to be trained on: examples, tokenizer, fold plans, and the task of any fold.

Workers have to agree on the tokenizer and the fold plans. The first worker makes them in the folder of the run, under a
lock. Every other worker loads them.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter
from transformers import PreTrainedTokenizerBase

from foldrace.errors import short_repr
from foldrace.storage.files.atomic import atomic_write, new_folder, restore_folder
from foldrace.storage.files.digests import digests_of, find_added, find_changed
from foldrace.storage.workspace import Workspace
from foldrace.studies.identity import Identity
from foldrace.studies.knobs import EntityMarking, Hyperparameters
from foldrace.studies.sections import Folds
from foldrace.studies.study import Study
from foldrace.trainer.arrays import IntArray
from foldrace.trainer.augmentation.source import AugmentationSource
from foldrace.trainer.data.batching import Tokens
from foldrace.trainer.data.encoding import encode, marker_ids, marker_tokens, unknown_share
from foldrace.trainer.data.examples import DataError, Example, Examples
from foldrace.trainer.data.extra import read_data
from foldrace.trainer.data.folds import FoldError, FoldPlan, plan_all_rows, plan_folds, plan_given_folds
from foldrace.trainer.data.tokenizer import build_tokenizer, explain_unknown, load_tokenizer, pad_id
from foldrace.trainer.hub import ModelError
from foldrace.trainer.modeling.classifier import ModelSource
from foldrace.trainer.training.tasks import FoldTask

_TOKENIZER, _DIGESTS = "tokenizer", "tokenizer-sha256.json"


@dataclass(frozen=True)
class TrainingData:
    """The data of a study, ready to be trained on. `open_training_data` opens it.

    Attributes:
        test: None when the study has no test file.
        folder: where the tokenizer and the fold plans are saved.
    """

    study: Study
    examples: Examples
    test: Examples | None
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    _encoded: dict[tuple[EntityMarking, bool, bool], Tokens] = field(default_factory=dict, repr=False)

    @property
    def identity(self) -> Identity:
        """That of the study with the very data that was read here, whatever lies in its files by now."""
        test = "" if self.test is None else self.test.digest
        read = {"data.train": self.examples.digest, "data.labels": self.examples.labels.digest, "data.test": test}
        read["data.extra"] = self.examples.extra_digest
        return Identity.of(self.study, read)

    @property
    def labels(self) -> IntArray:
        """(rows,), class indices."""
        return _labels(self.examples)

    @property
    def source(self) -> ModelSource:
        model = self.study.model
        return ModelSource(model.name, len(self.tokenizer), len(self.examples.labels.names), model.max_length)

    def plan(self, count: int, seed: int) -> FoldPlan:
        """The fold plan that is saved with the run. The first caller makes and saves it.

        Raises:
            FoldError: the rows cannot be split so, or the saved plan cannot be read.
        """
        path = self.folder / f"folds-{count}-seed-{seed}.json"
        if path.exists():
            try:
                plan = FoldPlan.from_json(path.read_text(encoding="utf-8"))
            except (FoldError, OSError, ValueError) as error:
                raise FoldError(f"{path}: {error}") from None
            if (plan.count, plan.seed, len(set(plan.rows.tolist()))) != (count, seed, len(self.examples.rows)):
                raise FoldError(f"{path}: the plan of other folds or of other rows; delete the file to plan them again")
            return plan
        folds = self.study.folds.model_copy(update={"count": count, "seed": seed})
        plan = plan_examples(self.examples, folds)
        atomic_write(path, plan.to_json())
        return plan

    def final_plan(self, seed: int) -> FoldPlan:
        """The plan of the models of a final job that have this seed; raises as `plan`."""
        final = self.study.final
        if final.validation:
            return self.plan(final.folds, seed)
        return _plan_all(self.examples, self.study.folds.model_copy(update={"count": final.folds, "seed": seed}))

    def encoded(self, marking: EntityMarking, of_test: bool = False, with_entities: bool = False) -> Tokens:
        """The token ids of every row, or of every test row. They are kept for the next call."""
        if self.examples.task != "relation":
            marking = "none"  # there is nothing to mark, and no need to encode the rows twice
        key = (marking, of_test, with_entities)
        if key not in self._encoded:
            examples = self.test if of_test else self.examples
            assert examples is not None
            self._encoded[key] = encode(
                examples.rows, self.tokenizer, marking, self.study.model.max_length, with_entities
            )
        return self._encoded[key]

    def unknown_share(self, of_test: bool = False) -> float:
        """The share of the tokens of all rows, or of all test rows, that the tokenizer does not know."""
        return unknown_share(self.encoded(self.study.defaults.entity_marking, of_test), self.tokenizer)

    def describe_unknown(self) -> str:
        """The shares of unknown tokens, in words."""
        test = "" if self.test is None else f" ({self.unknown_share(of_test=True):.1%} in the test rows)"
        return f"{self.unknown_share():.1%} unknown{test}"

    def refuse_unknown(self) -> None:
        """Raise DataError where the tokenizer knows less of the rows, or of the test rows, than the study allows."""
        refuse_unknown(self.unknown_share(), self.study.data.source, self.study, self.tokenizer)
        if self.study.data.test is not None:
            refuse_unknown(self.unknown_share(of_test=True), self.study.data.test, self.study, self.tokenizer)

    def task(
        self, knobs: Hyperparameters, plan: FoldPlan, fold: int, device: str, predict_test: bool = False
    ) -> FoldTask:
        """The task of fold number `fold` of a plan. The seed of the plan gives its new weights and dropout too."""
        source, training = AugmentationSource(self.study, self.examples, self.tokenizer), plan.training(fold)
        tokens = self.encoded(knobs.entity_marking, with_entities=source.needs_entities(knobs))
        markers = marker_ids(self.tokenizer) if knobs.pooling == "entities" else ()
        return FoldTask(
            tokens=tokens,
            labels=self.labels,
            training=training,
            validation=plan.validation(fold),
            no_relation=self.examples.labels.no_relation,
            source=replace(self.source, markers=markers),
            knobs=knobs,
            metric=self.study.search.metric,
            seed=plan.seed * 1000 + fold,
            pad_id=pad_id(self.tokenizer),
            device=device,
            test=self.encoded(knobs.entity_marking, of_test=True) if predict_test else None,
            augmentation=source.augmentation(knobs, tokens, training),
        )


def invented_codes(data: TrainingData) -> str:
    """A phrase about the label codes of a submission that no file gave; empty when a file gave them."""
    labels = data.examples.labels
    may_write_codes = data.study.final.form(data.examples.task) != "labels"
    if not may_write_codes or data.study.data.labels is not None or labels.names == tuple(map(str, labels.codes)):
        return ""
    return f"codes {min(labels.codes)} to {max(labels.codes)} in the order of their names; data.labels gives others"


def excluded_rows(data: TrainingData) -> str:
    """The labels that are left out of training, and which share of its rows has them."""
    outside = data.examples.outside
    share = outside / (len(data.examples.rows) + outside)
    return f"{', '.join(data.study.data.exclude_labels)}: {share:.1%} of the training rows"


def plan_examples(examples: Examples, folds: Folds) -> FoldPlan:
    """The folds of the training rows: those that a column gives, else planned. Extra rows change nothing of them.

    Raises FoldError.
    """
    rows = [example for example in examples.rows if not example.only_trains]
    labels = _labels(examples)[: len(rows)]
    given = [example.fold for example in rows if example.fold is not None]
    if given:
        plan = plan_given_folds(labels, given, folds)
    else:
        groups = [example.group for example in rows if example.group is not None]
        plan = plan_folds(labels, [example.sentence for example in rows], examples.labels.names, folds, groups)
    extra = np.arange(len(rows), len(examples.rows))
    return plan.with_pinned(extra) if len(extra) else plan


def _plan_all(examples: Examples, folds: Folds) -> FoldPlan:
    """The plan of models that train on all rows. Extra rows change nothing of the others here either."""
    own, every = len(examples.rows) - examples.extra, len(examples.rows)
    return plan_all_rows(_labels(examples)[:own], folds).with_pinned(np.arange(own, every))


def _labels(examples: Examples) -> IntArray:
    return np.array([example.label for example in examples.rows], dtype=np.int64)


def refuse_unknown(share: float, rows: str | Path, study: Study, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise DataError where `share`, of the tokens of some `rows`, is more than the study allows to be unknown."""
    if share > study.data.max_unknown:
        raise DataError(
            f"{rows}: {share:.1%} of its tokens are unknown to the tokenizer of {study.model.name}: "
            f"{explain_unknown(tokenizer)}; --set data.max_unknown=1 takes it as it is"
        )


def open_training_data(study: Study, workspace: Workspace) -> TrainingData:
    """Read the data of a study and load its tokenizer. The first call for a run builds the tokenizer.

    Raises:
        DataError: the data cannot be read, or nothing can be learnt from it.
        ModelError: the tokenizer cannot be loaded or built.
    """
    examples, test = read_data(study.data)
    _refuse_marking(study, examples)
    _refuse_one_label(study, examples)
    folder = workspace.folder / f"data-{_fingerprint(study, examples)}"
    with workspace.lock("data"):
        restore_folder(folder)
        if not folder.exists():
            _build(study, examples, folder, workspace)
    tokenizer = _load_tokenizer(folder)
    AugmentationSource(study, examples, tokenizer).check()
    return TrainingData(study, examples, test, tokenizer, folder)


def _refuse_marking(study: Study, examples: Examples) -> None:
    """Raise DataError where the study marks or searches entities that the rows do not have."""
    if examples.task == "relation":
        return
    rows = {"text": "texts", "pair": "pairs of texts"}[examples.task]
    if "entities" in study.values("pooling"):
        raise DataError(f'training.pooling: the rows are {rows}, which have no entities; take "mean", or leave it out')
    asked = study.training.get("entity_marking")
    if asked not in (None, "none", "concat"):  # an exported study names the default
        raise DataError(f"training.entity_marking: the rows are {rows}, which have no entities to mark; leave it out")


def _refuse_one_label(study: Study, examples: Examples) -> None:
    """Raise DataError where all rows have the same label: every model would be right, whatever it learns."""
    there = {example.label for example in examples.rows if example.label is not None and not example.only_trains}
    if len(there) < 2:
        name = short_repr(examples.labels.names[there.pop()])
        raise DataError(
            f"{study.data.source}: all rows have the label {name}; training needs rows of two labels at least"
        )


def _key(example: Example) -> tuple[str | int | None, ...]:
    """What tokenizer and folds know of a row; of a relation without groups as version 0.1.0 had it."""
    entities = [entity.type for entity in example.entities]
    later = {"pair": example.pair, "group": example.group, "fold": example.fold}
    later |= {"only_trains": "true"} if example.only_trains else {}
    return (example.sentence, *entities, example.label, *(f"{k}={v}" for k, v in later.items() if v is not None))


def _build(study: Study, examples: Examples, folder: Path, workspace: Workspace) -> None:
    sentences = [text for example in examples.rows for text in (example.sentence, example.pair) if text is not None]
    tokenizer = build_tokenizer(study.model.name, sentences, marker_tokens(examples.rows), study.model.vocabulary)
    with new_folder(folder) as building:
        tokenizer.save_pretrained(building / _TOKENIZER)
        (building / _DIGESTS).write_text(json.dumps(digests_of(building / _TOKENIZER)), encoding="utf-8")


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a run. Raises ModelError where its files are not those that the run has used so far."""
    digests, remedy = folder / _DIGESTS, f"delete the folder {folder}, and the same command makes it anew"
    try:
        known = TypeAdapter(dict[str, str]).validate_json(digests.read_bytes())
    except FileNotFoundError:  # an older version made it
        known = {}
    except (OSError, ValueError):
        raise ModelError(f"{digests}: not the digests of a tokenizer; {remedy}") from None
    if changed := find_changed(folder / _TOKENIZER, known):
        raise ModelError(f"{changed}; {remedy}")
    if added := find_added(folder / _TOKENIZER, known):
        raise ModelError(added)
    return load_tokenizer(folder / _TOKENIZER)


def _fingerprint(study: Study, examples: Examples) -> str:
    """Eight hexadecimal digits of all that the tokenizer and the folds are made from.

    Another run of the same name finds only what fits it. A setting that is added later belongs in here only where it
    differs from its default: every old run would make its folder anew.
    """
    rows = [_key(example) for example in examples.rows]
    folds = (study.folds.oversample_minority, study.folds.leaky_oversampling)
    later = [] if study.model.vocabulary is None else [study.model.vocabulary]
    text = json.dumps([study.model.name, folds, examples.labels.names, rows, *later], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
