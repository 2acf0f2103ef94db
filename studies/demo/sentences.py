"""Invented Korean sentences of two clauses, their entities, and how each pair of entities is related.

Names are composed of parts: nobody real may be meant. Everything is drawn from the generator that is passed in.
"""

import random
import re
from dataclasses import dataclass
from itertools import permutations

from foldrace.studies.demo.templates import (
    CONNECTIVES,
    FILLERS,
    INVERSE,
    NO_RELATION,
    OPENERS,
    RARE,
    TEMPLATES,
    UNRELATED,
)

# Few parts, so that each name comes back often: a small model has to learn in seconds what kind a name is.
_SURNAMES = ("남궁", "제갈", "맹", "옥", "탁", "봉", "편", "표")
_GIVEN_NAMES = ("가온", "겸해", "늘찬", "단비", "라율", "마루", "별솔", "온새")
_STEMS = ("갈담", "내울", "둔터", "라온", "뫼초", "벼리", "새잔", "여솔", "하뫼", "초롱")
_FIELDS = ("전자", "은행", "출판사", "대학교", "건설", "재단")
_REGIONS = ("마을", "고을", "포구", "섬")
_TITLES = ("감독", "교수", "기자", "대표", "사무총장", "시장", "연구원", "이사장", "지휘자", "편집장")
_ADJECTIVES = ("고요한", "낡은", "느린", "붉은", "푸른", "하얀")
_NOUNS = ("계단", "그늘", "기차", "등대", "언덕", "우산", "정원", "항구")

# What makes the data hard: clauses that distract, and "no relation" asked across two clauses that each state a fact.
_SECOND_IS_FACT, _SECOND_IS_UNRELATED = 0.12, 0.15  # else the second clause is a filler
_NONE_IN_ONE_CLAUSE = 0.9

_SLOT = re.compile(r"\{([so])\}")


@dataclass(frozen=True)
class Entity:
    """A mention: `kind` is person, organisation, place, date, title or work; `start` counts characters from 0."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """The last character, included."""
        return self.start + len(self.text) - 1


Pair = tuple[Entity, Entity]


@dataclass(frozen=True)
class Clause:
    """A template, the kinds of its subject and object (a filler has neither), and how they are related."""

    template: str
    subject: str = ""
    object: str = ""
    label: str = NO_RELATION


@dataclass(frozen=True)
class Sentence:
    """A text, its entities, and the labels of those pairs that are related, subject first."""

    text: str
    entities: tuple[Entity, ...]
    relations: dict[Pair, str]

    def label(self, pair: Pair) -> str:
        return self.relations.get(pair, NO_RELATION)

    def pairs(self) -> list[Pair]:
        """Every pair that can be asked about; only people and organisations are subjects."""
        return [pair for pair in permutations(self.entities, 2) if pair[0].kind in ("person", "organisation")]


def compose(label: str, rng: random.Random) -> Sentence:
    """A sentence with at least one pair that is related as `label` says."""
    clauses = _clauses(label, rng)
    rng.shuffle(clauses)
    text = rng.choice(OPENERS)
    entities: list[Entity] = []
    relations: dict[Pair, str] = {}
    for clause, ending in zip(clauses, (rng.choice(CONNECTIVES) + " ", "다."), strict=True):
        text, found = _write(clause, text, rng)
        text += ending
        entities += found.values()
        if clause.label != NO_RELATION:
            relations[found["s"], found["o"]] = clause.label
        if clause.label in INVERSE:
            relations[found["o"], found["s"]] = INVERSE[clause.label]
    return Sentence(text, tuple(entities), relations)


def _clauses(label: str, rng: random.Random) -> list[Clause]:
    if label != NO_RELATION:
        return [_fact(label, rng), _second(rng)]
    if rng.random() < _NONE_IN_ONE_CLAUSE:
        return [_unrelated(rng), _second(rng)]
    return [_any_fact(rng), _any_fact(rng)]


def _second(rng: random.Random) -> Clause:
    chance = rng.random()
    if chance < _SECOND_IS_FACT:
        return _any_fact(rng)
    return _unrelated(rng) if chance < _SECOND_IS_FACT + _SECOND_IS_UNRELATED else Clause(rng.choice(FILLERS))


def _any_fact(rng: random.Random) -> Clause:
    return _fact(rng.choice([label for label in TEMPLATES if label != RARE]), rng)


def _fact(label: str, rng: random.Random) -> Clause:
    stated = next((fact for fact, inverse in INVERSE.items() if inverse == label), label)
    subject, object_, templates = TEMPLATES[stated]
    return Clause(rng.choice(templates), subject, object_, stated)


def _unrelated(rng: random.Random) -> Clause:
    subject, object_, template = rng.choice(UNRELATED)
    return Clause(template, subject, object_)


def _write(clause: Clause, text: str, rng: random.Random) -> tuple[str, dict[str, Entity]]:
    """`text` with the clause appended, and the entities that fill its slots; no name comes twice in a text."""
    found = {}
    for i, piece in enumerate(_SLOT.split(clause.template)):
        if i % 2 == 0:
            text += piece
            continue
        kind = clause.subject if piece == "s" else clause.object
        while (name := _name(kind, rng)) in text:
            pass
        found[piece] = Entity(kind, name, len(text))
        text += name
    return text, found


def _name(kind: str, rng: random.Random) -> str:
    pick = rng.choice
    if kind == "person":
        return pick(_SURNAMES) + pick(_GIVEN_NAMES)
    if kind == "organisation":
        return f"{pick(_STEMS)} {pick(_FIELDS)}"
    if kind == "place":
        return f"{pick(_STEMS)} {pick(_REGIONS)}"
    if kind == "title":
        return pick(_TITLES)
    if kind == "work":
        return f"{pick(_ADJECTIVES)} {pick(_NOUNS)}"
    return f"{rng.randint(1961, 1999)}년"
