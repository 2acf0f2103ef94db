"""Fixtures of the unit tests: a small tokenizer of the tiny model's kind."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.sentences import SENTENCES

# A busy machine draws examples slowly and runs them slowly. Neither is a fault of what is tested.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer trained on `SENTENCES`, knowing the markers of a PER and an ORG, saved with save_pretrained."""
    from foldrace.trainer.data.tokenizer import build_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    markers = [f"[{slash}{name}]" for slash in ("", "/") for name in ("O", "O:ORG", "S", "S:PER")]
    tokenizer = build_tokenizer("tiny", SENTENCES, markers)
    tokenizer.save_pretrained(folder)
    return folder
