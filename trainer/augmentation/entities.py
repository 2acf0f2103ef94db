"""Relations with their entities exchanged or replaced. The sentence stays a sentence, and both spans follow."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from foldrace.trainer.data.examples import Entity, Example

Role = Literal["subject", "object"]
ROLES: tuple[Role, Role] = ("subject", "object")
_FIRST_SYLLABLE, _LAST_SYLLABLE, _FINALS = ord("가"), ord("힣"), 28


def swap(example: Example) -> Example:
    """The row with subject and object exchanged. Its label is that of the row still."""
    return replace(example, subject=example.object, object=example.subject)


@dataclass(frozen=True)
class EntityPool:
    """The entities of a training part, which may stand for each other: mention replacement, after Dai and Adel 2020
    ("An Analysis of Simple Data Augmentation for Named Entity Recognition").

    A replacement has the type of its entity, and ends in a consonant where it does: the particle that follows in Korean
    (은 or 는, 이 or 가) stays right.
    """

    examples: tuple[Example, ...]

    def replace(self, example: Example, role: Role, draw: float) -> Example:
        """The row with another entity; the row itself where there is no other one, or where entities overlap.

        Args:
            draw: from [0, 1); which of the others it is.
        """
        old = example.subject if role == "subject" else example.object
        other = example.object if role == "subject" else example.subject
        if old is None or other is None or not _is_apart(example.sentence, old, other):
            return example
        others = self._texts.get(_kind(old), ())
        own = self._places.get((*_kind(old), old.text), len(others))
        choices = len(others) - (own < len(others))
        if choices < 1:
            return example
        chosen = int(draw * choices)
        return _with_text(example, role, others[chosen + (chosen >= own)])

    @cached_property
    def _texts(self) -> dict[tuple[str | None, bool], tuple[str, ...]]:
        """The different texts of each kind, sorted."""
        found: dict[tuple[str | None, bool], set[str]] = {}
        for entity in (one for example in self.examples for one in example.entities):
            found.setdefault(_kind(entity), set()).add(entity.text)
        return {kind: tuple(sorted(texts)) for kind, texts in found.items()}

    @cached_property
    def _places(self) -> dict[tuple[str | None, bool, str], int]:
        return {(*kind, text): i for kind, texts in self._texts.items() for i, text in enumerate(texts)}


def _kind(entity: Entity) -> tuple[str | None, bool]:
    """The type of an entity, and whether its text ends in a final consonant."""
    last = ord(entity.text[-1])
    is_hangul = _FIRST_SYLLABLE <= last <= _LAST_SYLLABLE
    return entity.type, is_hangul and (last - _FIRST_SYLLABLE) % _FINALS > 0


def _is_apart(sentence: str, one: Entity, other: Entity) -> bool:
    """Whether both stand where their spans say, and neither within the other."""
    stand = all(sentence[entity.start : entity.end + 1] == entity.text for entity in (one, other))
    return stand and (one.end < other.start or other.end < one.start)


def _with_text(example: Example, role: Role, text: str) -> Example:
    """The row with another text for one of its entities. The other one, where it stands behind, moves."""
    old, other = example.subject, example.object
    assert old is not None
    assert other is not None
    if role == "object":
        old, other = other, old
    sentence = example.sentence[: old.start] + text + example.sentence[old.end + 1 :]
    shift = len(text) - len(old.text) if other.start > old.end else 0
    new = replace(old, text=text, end=old.start + len(text) - 1)
    moved = replace(other, start=other.start + shift, end=other.end + shift)
    subject, target = (new, moved) if role == "subject" else (moved, new)
    return replace(example, sentence=sentence, subject=subject, object=target)
