"""The training part of a fold, changed anew in each epoch. A row that judges is never changed.

What an epoch holds follows from the seed of the fold, the number of the epoch and the place of the row alone. So a fold
that goes on from a checkpoint trains on the same rows, and so does any other worker.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from foldrace.studies.knobs import Hyperparameters
from foldrace.trainer.arrays import FloatArray, IntArray
from foldrace.trainer.augmentation.entities import ROLES, EntityPool, swap
from foldrace.trainer.augmentation.noise import TokenNoise
from foldrace.trainer.data.batching import Tokens, TrainingPart, join
from foldrace.trainer.data.examples import Example

_STREAM = 1  # beside that of the batches, which are drawn from the seed and the epoch too
_DRAWS = 5  # of a row


@dataclass(frozen=True)
class Augmentation:
    """Changes the training part of a fold, by the probabilities of the knobs.

    Attributes:
        examples, tokens: every labelled row of the study.
        training: (rows of an epoch,), positions in `examples`. A position may occur repeatedly.
        inverse: the class of a row whose entities are exchanged, by its class; others are never exchanged.
        encode: gives the tokens of changed examples.
    """

    knobs: Hyperparameters
    examples: tuple[Example, ...]
    tokens: Tokens
    training: IntArray
    inverse: Mapping[int, int]
    encode: Callable[[tuple[Example, ...]], Tokens]
    noise: TokenNoise

    def part(self, seed: int, epoch: int) -> TrainingPart:
        """The training part of an epoch."""
        random = np.random.default_rng([seed, epoch, _STREAM])
        part = self._with_changed(random.random((len(self.training), _DRAWS)))
        if not (self.noise.deletion or self.noise.masking):
            return part
        tokens = self.noise.apply(part.tokens.take(part.rows), random)
        return TrainingPart(tokens, part.labels[part.rows], np.arange(len(part.rows)))

    @cached_property
    def digest(self) -> str:
        """The SHA-256, in hexadecimal, of what changed rows depend on, beside what the hash of a fold covers anyway."""
        entities = [[(one.text, one.start, one.end, one.type) for one in e.entities] for e in self.examples]
        fixed = [self.noise.mask_id, *self.noise.fixed_ids.tolist()]
        plain = [sorted(self.inverse.items()), fixed, entities]
        return hashlib.sha256(json.dumps(plain, ensure_ascii=False).encode()).hexdigest()

    def _with_changed(self, draws: FloatArray) -> TrainingPart:
        """All rows, and behind them those that were changed, each in the place of its row in the epoch.

        Args:
            draws: (rows of the epoch, 5), from [0, 1): whether a row is swapped; whether its subject is replaced, and
                by which one; the same of its object.
        """
        # Without marks, a model does not see which entity is the subject.
        swaps = draws[:, 0] < (0.0 if self.knobs.entity_marking == "none" else self.knobs.swap_entities)
        replaces = draws[:, (1, 3)] < self.knobs.replace_entities
        rows, changed = self.training.copy(), list[Example]()
        for place in np.flatnonzero(swaps | replaces.any(axis=1)):
            new = example = self.examples[self.training[place]]
            if swaps[place] and example.label in self.inverse:
                new = replace(swap(new), label=self.inverse[example.label])
            for number, role in enumerate(ROLES):
                if replaces[place, number]:
                    new = self._pool.replace(new, role, draws[place, 2 + 2 * number])
            if new is not example:
                rows[place] = len(self.examples) + len(changed)
                changed.append(new)
        labels = np.array([example.label for example in (*self.examples, *changed)], dtype=np.int64)
        tokens = join([self.tokens, self.encode(tuple(changed))]) if changed else self.tokens
        return TrainingPart(tokens, labels, rows)

    @cached_property
    def _pool(self) -> EntityPool:
        """The entities of the training part alone: the others belong to rows that judge."""
        return EntityPool(tuple(self.examples[row] for row in np.unique(self.training)))
