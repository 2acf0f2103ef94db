"""Which relation holds from the object to the subject, where a relation holds from the subject to the object.

A study names such labels in `data.inverse`. For KLUE-RE (Park et al. 2021) and the 42 labels of P-Stage, what holds by
the meaning of the names is here. A class without a relation is none of them: its sentence may hold one the other way.
"""

from collections.abc import Mapping
from reprlib import repr as short_repr
from unicodedata import normalize

from foldrace.studies.data import Data
from foldrace.trainer.data.formats import DataError
from foldrace.trainer.data.labels import Labels, no_label

# Each entry holds both ways. A relation that is its own inverse is symmetric.
SHIPPED = {
    "org:alternate_names": "org:alternate_names",
    "org:member_of": "org:members",
    "per:alternate_names": "per:alternate_names",
    "per:colleagues": "per:colleagues",
    "per:other_family": "per:other_family",
    "per:parents": "per:children",
    "per:siblings": "per:siblings",
    "per:spouse": "per:spouse",
    "단체:모회사": "단체:자회사",
    "단체:별칭": "단체:별칭",
    "단체:상위_단체": "단체:하위_단체",
    "인물:기타_친족": "인물:기타_친족",
    "인물:동료": "인물:동료",
    "인물:배우자": "인물:배우자",
    "인물:별칭": "인물:별칭",
    "인물:부모님": "인물:자녀",
    "인물:형제/자매/남매": "인물:형제/자매/남매",
}


def inverse_classes(data: Data, labels: Labels) -> dict[int, int]:
    """The class of a row whose subject and object are exchanged, by its class. Classes without an inverse have none.

    Raises:
        DataError: `data.inverse` names a label that the rows do not have, or gives one two inverses.
    """
    table = SHIPPED if data.inverse is None else data.inverse
    pairs = {normalize("NFC", label): normalize("NFC", other) for label, other in table.items()}
    if data.inverse is not None:
        _check(pairs, labels, data)
    both = {**{other: label for label, other in pairs.items()}, **pairs}
    found = {labels.index(label): labels.index(other) for label, other in both.items()}
    return {one: other for one, other in found.items() if one is not None and other is not None}


def _check(pairs: Mapping[str, str], labels: Labels, data: Data) -> None:
    excluded = [normalize("NFC", name) for name in data.exclude_labels]
    known: dict[str, str] = {}
    for pair in pairs.items():
        for label, other in (pair, pair[::-1]):
            if label not in labels.names and label not in excluded:
                raise no_label("data.inverse", label, labels, data)
            if known.setdefault(label, other) != other:
                named = f"{short_repr(known[label])} and {short_repr(other)}"
                raise DataError(
                    f"data.inverse: {short_repr(label)} has two inverses, {named}; an entry holds both ways"
                )
