"""Korean text as its morphemes, with a space between them: a tokenizer sees 이순신 and 은 instead of 이순신은."""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from foldrace.trainer.data.formats import DataError


@dataclass(frozen=True)
class SplitText:
    """A text with a space before each morpheme that stood right behind another one. No other character changes.

    Attributes:
        starts: where these morphemes began, ascending.
    """

    text: str
    starts: tuple[int, ...]

    def place(self, before: int) -> int:
        """Where the character is that stood at the place `before`."""
        return before + bisect_right(self.starts, before)


def split_morphemes(text: str) -> SplitText:
    """The text split by mecab. Raises DataError where mecab is not installed."""
    begins = (morpheme.span.start for morpheme in _tagger().parse(text))
    starts = [start for start in begins if start > 0 and not text[start - 1].isspace()]
    bounds = [0, *starts, len(text)]
    parts = (text[start:end] for start, end in pairwise(bounds))
    return SplitText(" ".join(parts), tuple(starts))


@cache
def _tagger() -> Any:
    try:
        from mecab import MeCab
    except ImportError:
        remedy = "pip install 'foldrace[mecab]', or leave it out"
        raise DataError(f'data.morphemes = "mecab": mecab is not installed: {remedy}') from None
    return MeCab()
