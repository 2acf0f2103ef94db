"""Which rows a fold trains on, and which rows it is validated on.

All rows of a sentence stay in one fold, and oversampling happens inside the training part only. So no model has seen
the rows that it is validated on. A `leaky` plan is the exception.
"""

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from foldrace.errors import FoldraceError
from foldrace.studies.sections import Folds
from foldrace.trainer.arrays import BoolArray, IntArray
from foldrace.trainer.hashing import hashed_fields

PINNED = -1  # the fold of a row that only ever trains


class FoldError(FoldraceError):
    """The rows cannot be split as asked, or a stored plan cannot be read."""


@dataclass(frozen=True, eq=False)
class FoldPlan:
    """A split of the rows into folds. Two plans are the same when their hashes are.

    Attributes:
        count: the number of folds; 0: every row only ever trains.
        oversample: rare classes are repeated in the training parts.
        leaky: they were repeated before the split, so copies of a row are on both sides of it.
        pinned_labels: the classes that are only trained on, and left out of every score.
        rows: (m,) the row that each entry stands for. Each row occurs once, or repeatedly in a `leaky` plan.
        fold: (m,) the fold that is validated on the entry, or PINNED.
        rounds: (m,) how often the entry occurs in a training part.
    """

    count: int
    seed: int
    oversample: bool
    leaky: bool
    pinned_labels: tuple[str, ...]
    rows: IntArray
    fold: IntArray
    rounds: IntArray

    def with_pinned(self, rows: IntArray) -> "FoldPlan":
        """The same plan with other rows behind its own, which every fold trains on and none is validated on."""
        fold, rounds = np.full(len(rows), PINNED, dtype=np.int64), np.ones(len(rows), dtype=np.int64)
        return replace(
            self,
            rows=np.concatenate([self.rows, rows]),
            fold=np.concatenate([self.fold, fold]),
            rounds=np.concatenate([self.rounds, rounds]),
        )

    def training(self, k: int) -> IntArray:
        """The rows that fold `k` trains on: all of them once, in order, then those with a second round, and so on."""
        rows, rounds = self.rows[self.fold != k], self.rounds[self.fold != k]
        return np.concatenate([rows[rounds > done] for done in range(rounds.max())])

    def validation(self, k: int) -> IntArray:
        """The rows that fold `k` is validated on, in order."""
        return self.rows[np.flatnonzero(self.fold == k)]

    def to_json(self) -> str:
        return json.dumps({**self._plain(), "hash": self.hash()}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "FoldPlan":
        """The plan that `to_json` wrote.

        Raises:
            FoldError: `text` is no plan, or it was changed.
        """
        try:
            raw = json.loads(text)
            written = raw.pop("hash")
            arrays = {name: np.asarray(raw[name], dtype=np.int64) for name in ("rows", "fold", "rounds")}
            plan = cls(**{**raw, **arrays, "pinned_labels": tuple(raw["pinned_labels"])})
            whole = plan.rows.shape == plan.fold.shape == plan.rounds.shape == (len(plan.rows),)
            whole = whole and plan.hash() == written and set(plan.fold.tolist()) - {PINNED} == set(range(plan.count))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise FoldError(f"not a fold plan: {error!r}; delete the file to plan the folds again") from None
        if not whole:
            raise FoldError("not a fold plan: its arrays do not fit together; delete the file to plan the folds again")
        return plan

    def hash(self) -> str:
        """The SHA-256 of the whole plan, in hexadecimal."""
        return hashlib.sha256(json.dumps(self._plain(), ensure_ascii=False).encode()).hexdigest()

    def _plain(self) -> dict[str, object]:
        return hashed_fields(self) | {name: getattr(self, name).tolist() for name in ("rows", "fold", "rounds")}


def normalise_sentence(sentence: str) -> str:
    """The form in which copies of a sentence are equal: NFKC, case folded, each run of white space as one space."""
    return " ".join(unicodedata.normalize("NFKC", sentence).casefold().split())


def plan_folds(
    labels: IntArray, sentences: Sequence[str], label_names: Sequence[str], folds: Folds, groups: Sequence[str] = ()
) -> FoldPlan:
    """A plan of `folds.count` stratified folds, the rows of one sentence together, and those of one group.

    A class that fewer than `count` sentences hold cannot be in every fold. All rows of those sentences are pinned to
    training. That may leave too few sentences of another class, and so on until nothing changes.

    With `oversample_minority`, the rows of a class with fewer than 2 * count rows are trained on in whole rounds, so
    that the data holds at least 2 * count of them.

    `leaky_oversampling` is the competition's way, for comparison. The rounds are laid out before a plain stratified
    split, so copies leak. Nothing is pinned, and `oversample_minority` is implied.

    Args:
        labels: (n,) class indices into `label_names`.
        sentences: (n,) the text of each row.
        groups: (n,) what is the same of rows that belong together; empty: nothing but their sentences is.

    Raises:
        FoldError: fewer than two folds, more folds than groups, or no class is left to score.
    """
    if len(labels) != len(sentences):
        raise FoldError(f"{len(labels)} labels for {len(sentences)} sentences; each row has one of both")
    group = _together(_numbered([normalise_sentence(sentence) for sentence in sentences]), _numbered(groups))
    count, seed, leaky = folds.count, folds.seed, folds.leaky_oversampling
    if not 2 <= count <= group.max() + 1:
        found = f"{count} folds of {group.max() + 1} groups of sentences"
        raise FoldError(f"{found}: ask for at least 2 folds and at most one for each group, or give more rows")
    rounds = _repetitions(labels, 2 * count) if folds.oversample_minority or leaky else np.ones_like(labels)
    if leaky:
        return _leaky_plan(labels, rounds, count, seed)
    size = int(group.max()) + 1, len(label_names)
    table = np.bincount(group * size[1] + labels, minlength=size[0] * size[1]).reshape(size)
    fold_of_group, pinned = _split_groups(table, count, seed)
    names = tuple(name for name, is_pinned in zip(label_names, pinned, strict=True) if is_pinned)
    rows = np.arange(len(labels))
    return FoldPlan(count, seed, folds.oversample_minority, False, names, rows, fold_of_group[group], rounds)


def plan_given_folds(labels: IntArray, given: Sequence[str], folds: Folds) -> FoldPlan:
    """The plan that a column of the data gives: each of its values is a fold, in their order. Nothing is pinned.

    Args:
        labels: (n,) class indices.
        given: (n,) the fold of each row.

    Raises:
        FoldError: the column has another number of folds than `folds.count`, or copies shall cross them.
    """
    values = sorted(set(given), key=_in_order)
    if len(values) != folds.count:
        shown = ", ".join(values[:5]) + (", ..." if len(values) > 5 else "")
        remedy = f"write count = {len(values)} in [folds] and folds = {len(values)} in [final]"
        if len(values) < 2:
            remedy = "a split has at least two"
        raise FoldError(f"data.columns.fold: {len(values)} folds ({shown}), {folds.count} are asked for; {remedy}")
    if folds.leaky_oversampling:
        raise FoldError("folds.leaky_oversampling: copies cannot cross the folds that data.columns.fold gives")
    rounds = _repetitions(labels, 2 * folds.count) if folds.oversample_minority else np.ones_like(labels)
    number = {value: k for k, value in enumerate(values)}
    fold = np.array([number[value] for value in given], dtype=np.int64)
    return FoldPlan(folds.count, folds.seed, folds.oversample_minority, False, (), np.arange(len(labels)), fold, rounds)


def plan_all_rows(labels: IntArray, folds: Folds) -> FoldPlan:
    """The plan of models that train on all rows. It has no fold; rare classes are repeated as `plan_folds` does it.

    Args:
        labels: (n,) class indices.
    """
    is_repeated = folds.oversample_minority or folds.leaky_oversampling
    rounds = _repetitions(labels, 2 * folds.count) if is_repeated else np.ones_like(labels)
    rows = np.arange(len(labels))
    return FoldPlan(0, folds.seed, is_repeated, False, (), rows, np.full_like(rows, PINNED), rounds)


def _in_order(value: str) -> tuple[bool, int, str]:
    """The key by which numbers come first, in their order, however many digits they have."""
    digits = value.lstrip("0")
    return (False, len(digits), digits) if value.isdecimal() else (True, 0, value)


def _numbered(values: Sequence[str]) -> IntArray:
    """Numbers from 0 in the order in which the values first occur."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)


def _together(sentences: IntArray, groups: IntArray) -> IntArray:
    """The group of each row, so that rows with the same sentence or the same group are in one."""
    if not len(groups):
        return sentences
    from scipy.sparse import coo_array  # type: ignore[import-untyped]  # few plans need it
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    size = int(sentences.max()) + 1
    links = coo_array((np.ones(len(groups)), (sentences, size + groups)), shape=(size + int(groups.max()) + 1,) * 2)
    component = connected_components(links, directed=False)[1][sentences]
    return _numbered([str(one) for one in component])


def _repetitions(labels: IntArray, least: int) -> IntArray:
    """(n,) how often each row has to occur for its class to reach `least` rows."""
    return -(-least // np.minimum(np.bincount(labels), least).clip(1))[labels]


def _leaky_plan(labels: IntArray, rounds: IntArray, count: int, seed: int) -> FoldPlan:
    from sklearn.model_selection import StratifiedKFold  # takes a second to import, and few plans need it

    rows = np.repeat(np.arange(len(labels)), rounds)
    fold = np.empty_like(rows)
    split = StratifiedKFold(count, shuffle=True, random_state=seed).split(rows, labels[rows])
    for k, (_, entries) in enumerate(split):
        fold[entries] = k
    return FoldPlan(count, seed, True, True, (), rows, fold, np.ones_like(rows))


def _split_groups(table: IntArray, count: int, seed: int) -> tuple[IntArray, BoolArray]:
    """The fold of each group, (groups,), and which classes are pinned, (classes,).

    Args:
        table: (groups, classes), the number of rows.
    """
    holds = table > 0
    pinned = np.zeros(table.shape[1], dtype=np.bool_)
    while True:
        free, pinned = _pin_classes(holds, pinned, count)
        if not free.any():
            most = min(int(holds.sum(axis=0).max()), count - 1)
            remedy = f"ask for at most {most} folds" if most >= 2 else "more rows are needed"
            found = f"{count} folds of {len(table)} groups of sentences"
            raise FoldError(f"{found}: no class is left that {count} of them hold; {remedy}")
        fold = np.full(len(table), PINNED, dtype=np.int64)
        fold[free] = _distribute(table[free], count, seed)
        folds_with = sum(holds[fold == k].any(axis=0).astype(np.int64) for k in range(count))
        stranded = ~pinned & (folds_with == 1)  # all its rows are in one fold, whose model is never trained on them
        if not stranded.any():
            return fold, pinned
        pinned |= stranded


def _pin_classes(holds: BoolArray, pinned: BoolArray, count: int) -> tuple[BoolArray, BoolArray]:
    """Which groups are free to be scored, (groups,), and which classes are pinned, (classes,).

    A class that is pinned takes groups away from others, and may so pin another one. This goes on until none follows.
    """
    free: BoolArray = np.logical_not(holds[:, pinned].any(axis=1))
    while True:
        pinned = pinned | (holds.any(axis=0) & (holds[free].sum(axis=0) < count))
        still_free: BoolArray = np.logical_not(holds[:, pinned].any(axis=1))
        if (still_free == free).all():
            return free, pinned
        free = still_free


def _distribute(table: IntArray, count: int, seed: int) -> IntArray:
    """(groups,) the fold of each group. Large groups choose first.

    A group goes where its classes are the scarcest, then where the rows are the fewest. This gives the least variance
    of class shares over folds, the aim of scikit-learn's StratifiedGroupKFold. To put c_j rows of class j (T_j in all)
    where there are n_j adds sum_j (2 n_j c_j + c_j^2) / T_j^2 to the variance. Only n_j differs between folds.
    scikit-learn weighs every class anew for each group and fold, and takes 3.5 s for 9,000 rows in 8 folds.
    """
    order = np.random.RandomState(seed).permutation(len(table))  # unlike a Generator's, its stream never changes
    order = order[np.argsort(-table.sum(axis=1)[order], kind="stable")]
    weights = 1.0 / np.maximum(table.sum(axis=0), 1) ** 2
    held, rows = np.zeros((count, table.shape[1])), np.zeros(count)
    fold = np.empty(len(table), dtype=np.int64)
    for group in order:
        classes = np.flatnonzero(table[group])
        cost = (held[:, classes] * (table[group, classes] * weights[classes])).sum(axis=1)
        fold[group] = best = np.lexsort((rows, cost))[0]
        held[best] += table[group]
        rows[best] += table[group].sum()
    return fold
