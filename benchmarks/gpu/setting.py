"""Where and how large a section computes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """`folder` is for the files of all sections; `small`: what a CPU can do in a minute."""

    folder: Path
    device: str
    small: bool

    @property
    def is_cuda(self) -> bool:
        return self.device == "cuda"

    @property
    def learning_rate(self) -> float:
        return self.choose(1e-4, 5e-3)  # with more, random weights of twelve layers never leave the majority class

    def choose(self, full: T, small: T) -> T:
        return small if self.small else full
