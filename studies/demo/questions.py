"""Invented Korean questions about small events, and answers of the kind that was asked for, or of another.

Which words ask and which ones answer says nothing alone: whether an answer fits is seen in both together. How often it
fits differs by kind. So a model learns the kinds first, and what they have to do with each other next; with the same
share for each kind, a small model stays at the commoner label for many epochs.
"""

import random

FITS, MISSES = "맞음", "어긋남"

# Of each kind: how often the answer fits, the questions, and the answers. {e}: event, {n}: person, {p}: place.
_KINDS: tuple[tuple[float, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        0.8,
        ("{e} 일을 누가 맡았나요?", "{e} 담당자는 누구인가요?", "누구에게 {e} 일을 물어야 하나요?"),
        ("{n} 씨가 맡고 있습니다.", "{n} 씨에게 물어보세요.", "담당자는 {n} 씨입니다."),
    ),
    (
        0.6,
        ("{e} 행사는 어디에서 열리나요?", "{e} 행사 장소는 어디인가요?", "{e} 모임에 가려면 어디로 가나요?"),
        ("{p} 회관에서 열립니다.", "{p} 쪽으로 오시면 됩니다.", "{p} 광장에 모입니다."),
    ),
    (
        0.4,
        ("{e} 행사는 언제 열리나요?", "{e} 모임 날짜는 언제인가요?", "언제 {e} 모임이 시작되나요?"),
        ("{m}월 {d}일에 시작합니다.", "{m}월 {d}일 저녁입니다.", "날짜는 {m}월 {d}일로 잡혔습니다."),
    ),
    (
        0.2,
        ("{e} 입장권은 얼마인가요?", "{e} 참가비로 얼마를 내나요?", "{e} 표 한 장에 얼마인가요?"),
        ("한 사람에 {k}천 원입니다.", "{k}천 원만 내시면 됩니다.", "모두 {k}천 원을 받습니다."),
    ),
)
_EVENTS = ("독서 모임", "봄 축제", "음악회", "바자회", "걷기 대회", "사진전", "요리 교실", "벼룩시장")
_SURNAMES = ("남궁", "제갈", "맹", "옥", "탁", "봉", "편", "표")
_GIVEN_NAMES = ("가온", "겸해", "늘찬", "단비", "라율", "마루", "별솔", "온새")
_PLACES = ("갈담 마을", "내울 고을", "둔터 포구", "라온 섬", "뫼초 마을", "벼리 고을", "새잔 포구", "여솔 섬")


def ask(rng: random.Random) -> tuple[str, str, str]:
    """A question, an answer, and whether the answer is of the kind that was asked for."""
    kind = rng.choice(_KINDS)
    share, questions, answers = kind
    fits = rng.random() < share
    if not fits:
        answers = rng.choice([other for other in _KINDS if other != kind])[2]
    return _fill(rng.choice(questions), rng), _fill(rng.choice(answers), rng), FITS if fits else MISSES


def _fill(template: str, rng: random.Random) -> str:
    return template.format(
        e=rng.choice(_EVENTS),
        n=rng.choice(_SURNAMES) + rng.choice(_GIVEN_NAMES),
        p=rng.choice(_PLACES),
        m=rng.randint(1, 12),
        d=rng.randint(1, 28),
        k=rng.randint(2, 30),
    )
