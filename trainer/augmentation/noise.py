"""Tokens that are dropped or masked at random: never a special token, a marker, or a token of an entity."""

from dataclasses import dataclass

import numpy as np

from foldrace.trainer.arrays import BoolArray, IntArray
from foldrace.trainer.data.batching import Tokens


@dataclass(frozen=True)
class TokenNoise:
    """Random deletion, after Wei and Zou 2019 ("EDA: Easy Data Augmentation Techniques"), and random masking, after
    the inputs that BERT is pretrained on (Devlin et al. 2019).

    Attributes:
        deletion, masking: the probability that a token is dropped; that one which is left is masked.
        mask_id: the mask token.
        fixed_ids: the numbers of the tokens that stay.
    """

    deletion: float
    masking: float
    mask_id: int
    fixed_ids: IntArray

    def apply(self, tokens: Tokens, random: np.random.Generator) -> Tokens:
        """The rows with their noise. A row that would lose all of its text loses nothing."""
        may_change = ~np.isin(tokens.ids, self.fixed_ids)
        if tokens.of_entity is not None:
            may_change &= ~tokens.of_entity
        chance = random.random(len(tokens.ids)), random.random(len(tokens.ids))
        masked = may_change & (chance[1] < self.masking)
        ids = np.where(masked, self.mask_id, tokens.ids)
        noisy = Tokens(ids, tokens.types, tokens.offsets, tokens.truncated, tokens.of_entity)
        dropped = may_change & (chance[0] < self.deletion)
        return _without(noisy, dropped & np.repeat(_count(may_change & ~dropped, tokens) > 0, tokens.lengths))


def _count(flags: BoolArray, tokens: Tokens) -> IntArray:
    """(rows,), how many tokens of each row have the flag."""
    up_to: IntArray = np.concatenate([[0], np.cumsum(flags)])
    return np.diff(up_to[tokens.offsets])


def _without(tokens: Tokens, dropped: BoolArray) -> Tokens:
    if not dropped.any():
        return tokens
    lengths = tokens.lengths - _count(dropped, tokens)
    return tokens.select(~dropped, np.concatenate([[0], np.cumsum(lengths)]))
