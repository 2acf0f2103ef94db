"""Fixtures of the unit tests: a small tokenizer of the tiny model's kind."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine draws examples slowly and runs them slowly. Neither is a fault of what is tested.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

SENTENCES = (
    "조지 해리슨이 쓰고 비틀즈가 부른 노래",
    "비틀즈는 1960년 리버풀에서 결성된 영국의 밴드이다.",
    "이순신은 한성에서 태어나 노량에서 전사했다.",
    "서울대학교 병원은 서울에 있다.",
    "이순신 은 한성 에서",  # a word of the text becomes one piece, so tests may name pieces
)


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer trained on `SENTENCES`, knowing the markers of a PER and an ORG, saved with save_pretrained."""
    from foldrace.trainer.data.tokenizer import build_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    markers = [f"[{slash}{name}]" for slash in ("", "/") for name in ("O", "O:ORG", "S", "S:PER")]
    tokenizer = build_tokenizer("tiny", SENTENCES, markers)
    tokenizer.save_pretrained(folder)
    return folder
