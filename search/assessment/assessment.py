"""How good a trial is, in figures and in words. Never imports numpy: `foldrace status` does without."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from foldrace.search.assessment.intervals import Interval

CLEAR = 0.95  # the probability of a lead that is more than chance


@dataclass(frozen=True)
class Lead:
    """By how much one trial leads another.

    Attributes:
        over: the number of the other one.
        difference: of what is believed of them.
        probability: that it is the better one, on other data and seeds.
    """

    over: int
    difference: float
    probability: float

    @property
    def is_clear(self) -> bool:
        return self.probability >= CLEAR

    @property
    def verdict(self) -> str:
        surely = f"ahead with probability {self.probability:.2f}"
        return surely if self.is_clear else f"within chance ({surely})"


@dataclass(frozen=True)
class Assessment:
    """How good a trial is. As text, it is three lines.

    Attributes:
        trial: its number.
        chosen: its mean over the folds of the search, which chose it.
        honest: its score on fresh folds, or else what is believed of it.
        fresh_folds: of how many fresh folds that is; 0: it is believed.
        leads: over the best of the other candidates, and over the baseline.
        picked: the metric, where its best evaluations were picked by the very rows that score them; else empty.
        baseline: the number of the study's baseline; None: it has none.
    """

    trial: int
    chosen: float
    honest: Interval
    fresh_folds: int
    leads: tuple[Lead, ...] = ()
    picked: str = ""
    baseline: int | None = None

    @property
    def luck(self) -> float:
        """What the folds that chose it show too much; below zero they were unlucky, and its neighbours' were not."""
        return self.chosen - self.honest.mean

    @property
    def lead_lines(self) -> list[str]:
        """By how much the trial leads others, and how surely: a line each."""
        return [f"leads     {self.against(lead)}" for lead in self.leads]

    def against(self, lead: Lead) -> str:
        """A lead in words, as in `+0.0024 against the baseline: within chance`."""
        other = "the baseline" if lead.over == self.baseline else f"trial {lead.over}"
        return f"{lead.difference:+.4f} against {other}: {lead.verdict}"

    @property
    def lines(self) -> list[str]:
        """The three lines that `export`, `status` and the report show."""
        name = "folds that did not choose it" if self.fresh_folds else "believed"
        biased = f"; {self.picked} of the best evaluation, picked on the same rows" if self.picked else ""
        return [
            f"{'chosen on these folds':28} {self.chosen:.4f}{', optimistic' if self.luck >= 0 else ''}",
            f"{name:28} {self.honest}{biased}",
            f"{'taken by luck' if self.luck >= 0 else 'lost by bad luck':28} {abs(self.luck):.4f}",
        ]

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def to_json(self) -> dict[str, Any]:
        """The assessment as plain data."""
        return asdict(self) | {
            "luck": self.luck,
            "leads": [asdict(lead) | {"clear": lead.is_clear} for lead in self.leads],
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Assessment":
        """The assessment that `to_json` made plain data of. Raises KeyError or TypeError: it is none."""
        leads = tuple(Lead(lead["over"], lead["difference"], lead["probability"]) for lead in found["leads"])
        values = {field.name: found[field.name] for field in fields(cls)}
        return cls(**values | {"honest": Interval(**found["honest"]), "leads": leads})
