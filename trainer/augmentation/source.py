"""What the augmentation of a study is made from, and whether rows and tokenizer allow what the study asks for."""

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from foldrace.studies.knobs import Hyperparameters
from foldrace.studies.study import Study
from foldrace.trainer.arrays import IntArray
from foldrace.trainer.augmentation.augmentation import Augmentation
from foldrace.trainer.augmentation.inverse import inverse_classes
from foldrace.trainer.augmentation.noise import TokenNoise
from foldrace.trainer.data.batching import Tokens
from foldrace.trainer.data.encoding import encode
from foldrace.trainer.data.examples import DataError, Example, Examples
from foldrace.trainer.hub import ModelError

_OF_ENTITIES, _OF_TOKENS = ("swap_entities", "replace_entities"), ("token_deletion", "token_masking")


@dataclass(frozen=True)
class AugmentationSource:
    """The rows of a study and its tokenizer, from which the augmentation of each fold is made."""

    study: Study
    examples: Examples
    tokenizer: PreTrainedTokenizerBase

    def check(self) -> None:
        """Refuse what these rows or this tokenizer cannot give, whether it is fixed or searched.

        Raises:
            DataError: the rows have no entities, no types of them, or no label with an inverse.
            ModelError: the tokenizer has no mask token, or does not tell which characters a token holds.
        """
        asked = [knob for knob in (*_OF_ENTITIES, *_OF_TOKENS) if self.study.training.get(knob, 0.0) != 0.0]
        inverse = inverse_classes(self.study.data, self.examples.labels)
        if self.examples.task != "relation":
            self._refuse_entities([knob for knob in asked if knob in _OF_ENTITIES])
        elif any(knob in _OF_TOKENS for knob in asked) and not self.tokenizer.is_fast:
            raise self._model_error(asked[-1], "does not tell where entities are")
        elif "swap_entities" in asked and not any(row.label in inverse for row in self.examples.rows):
            remedy = 'none of the labels has an inverse; name them: data.inverse = { parents = "children" }'
            raise DataError(f"training.swap_entities: {remedy}")
        elif "replace_entities" in asked and all(e.type is None for row in self.examples.rows for e in row.entities):
            raise DataError("training.replace_entities: the entities of the rows have no types; leave it out")
        if "token_masking" in asked and self.tokenizer.mask_token_id is None:
            raise self._model_error("token_masking", "has no mask token; token_deletion needs none")

    def needs_entities(self, knobs: Hyperparameters) -> bool:
        """Whether it has to be known which tokens are of an entity."""
        return self.examples.task == "relation" and any(getattr(knobs, knob) for knob in _OF_TOKENS)

    def augmentation(self, knobs: Hyperparameters, tokens: Tokens, training: IntArray) -> Augmentation | None:
        """The augmentation of a training part; None where the knobs ask for none.

        Args:
            tokens: those of all rows; `needs_entities` says whether they have to tell the entities.
            training: positions in the rows.
        """
        if not any(getattr(knobs, knob) for knob in (*_OF_ENTITIES, *_OF_TOKENS)):
            return None

        def encoded(examples: tuple[Example, ...]) -> Tokens:
            length, flags = self.study.model.max_length, self.needs_entities(knobs)
            return encode(examples, self.tokenizer, knobs.entity_marking, length, flags)

        inverse = inverse_classes(self.study.data, self.examples.labels)
        return Augmentation(knobs, self.examples.rows, tokens, training, inverse, encoded, self._noise(knobs))

    def _noise(self, knobs: Hyperparameters) -> TokenNoise:
        tokenizer = self.tokenizer
        special = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()} - {tokenizer.unk_token_id}
        mask = tokenizer.mask_token_id
        return TokenNoise(
            knobs.token_deletion, knobs.token_masking, -1 if mask is None else mask, np.array(sorted(special))
        )

    def _refuse_entities(self, asked: list[str]) -> None:
        rows = {"text": "texts", "pair": "pairs of texts"}.get(self.examples.task)
        if asked or self.study.data.inverse is not None:
            key = f"training.{asked[0]}" if asked else "data.inverse"
            raise DataError(f"{key}: the rows are {rows}, which have no entities; leave it out")

    def _model_error(self, knob: str, problem: str) -> ModelError:
        return ModelError(f"training.{knob}: the tokenizer of {self.study.model.name} {problem}")
