"""The relations of the demo data and the Korean clauses that say them.

Written for this project: no clause may come from a real data set. Only tables live here.
"""

NO_RELATION = "관계_없음"

# {s} is the subject, {o} the object; the object comes first in about half. No particle follows an entity, so that
# any name fits; each clause ends in the stem of a past tense, so that any connective fits. A relation's clauses share
# words, or a small model with random weights stays at the commonest label for many epochs.
TEMPLATES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "인물:직함": (
        "person",
        "title",
        (
            "{s} 씨는 오랫동안 {o} 직책을 맡았",
            "{o} 직책을 맡은 {s} 씨는 긴 회의를 이끌었",
            "{s} 씨가 신임 {o} 직책에 올랐",
            "신임 {o} 직책을 결국 {s} 씨가 맡았",
        ),
    ),
    "인물:소속단체": (
        "person",
        "organisation",
        (
            "{s} 씨는 올봄 {o} 소속 직원이 됐",
            "{o} 소속 {s} 씨는 동료들과 상을 받았",
            "{s} 씨는 {o} 소속 직원으로 십 년간 근무했",
            "{o} 소속 직원 {s} 씨를 동료들이 따랐",
        ),
    ),
    "인물:출생지": (
        "person",
        "place",
        (
            "{s} 씨는 고향 {o} 바닷가에서 태어났",
            "{o} 출신 {s} 씨는 일찍 고향 마을을 떠났",
            "{s} 씨는 고향 {o} 이야기를 자주 꺼냈",
            "고향 {o} 바닷가에서 {s} 씨가 태어났",
        ),
    ),
    "인물:배우자": (
        "person",
        "person",
        (
            "{s} 씨는 {o} 씨와 봄에 결혼식을 올렸",
            "배우자 {o} 씨와 결혼식을 마친 {s} 씨는 행복해 보였",
            "{s} 씨는 배우자 {o} 씨와 평생 부부로 지냈",
        ),
    ),
    "인물:부모": (
        "person",
        "person",
        (
            "{s} 씨는 아버지 {o} 씨 밑에서 엄하게 자랐",
            "어머니 {o} 씨는 자식 {s} 씨를 홀로 키웠",
            "자식 {s} 씨는 어머니 {o} 씨를 쏙 닮았",
            "아버지 {o} 씨는 자식 {s} 씨에게 유산을 남겼",
        ),
    ),
    "인물:작품": (
        "person",
        "work",
        (
            '{s} 씨는 장편 영화 "{o}" 각본을 마침내 썼',
            '영화 "{o}" 감독 {s} 씨는 관객들을 만났',
            '{s} 씨가 연출한 영화 "{o}" 시사회가 열렸',
            '영화 "{o}" 각본은 {s} 씨가 도맡았',
        ),
    ),
    "인물:사망일": (
        "person",
        "date",
        ("{s} 씨는 {o} 가을에 세상을 떠났", "{o} 가을에 별세한 {s} 씨는 긴 추모를 받았"),
    ),
    "단체:설립자": (
        "organisation",
        "person",
        (
            "{o} 씨는 전 재산을 들여 {s} 법인을 설립했",
            "{s} 법인 창업자 {o} 씨가 경영에서 물러났",
            "창업자 {o} 씨가 세운 {s} 법인은 빠르게 성장했",
            "{s} 법인은 {o} 씨의 손으로 설립했다고 전해졌",
        ),
    ),
    "단체:소재지": (
        "organisation",
        "place",
        (
            "{s} 측은 {o} 시내에 본사를 두었",
            "{o} 시내에 자리한 {s} 본사는 문을 넓혔",
            "{s} 본사가 {o} 시내로 옮겨졌",
            "{o} 시내에는 {s} 본사가 새로 들어섰",
        ),
    ),
}

RARE = "인물:사망일"  # in four training rows: fewer than there are folds

# Asked with subject and object exchanged, these facts have a name of their own (and marriage keeps its name).
INVERSE = {"인물:부모": "인물:자녀", "인물:배우자": "인물:배우자"}
LABELS = (NO_RELATION, *TEMPLATES, *(label for label in INVERSE.values() if label not in TEMPLATES))

# Both entities in one clause, and yet no relation.
UNRELATED: tuple[tuple[str, str, str], ...] = (
    ("person", "place", "{s} 씨는 지난주 {o} 축제를 잠시 방문했"),
    ("person", "place", "{o} 축제에는 {s} 씨가 손님으로 참석했"),
    ("person", "organisation", "{s} 씨는 {o} 제품을 공개적으로 비판했"),
    ("person", "organisation", "{o} 건물 앞에서 {s} 씨가 시위를 벌였"),
    ("person", "person", "{s} 씨는 {o} 씨와 길에서 우연히 마주쳤"),
    ("person", "person", "{o} 씨의 연설을 {s} 씨가 조용히 들었"),
    ("person", "title", "{s} 씨는 어느 {o} 말을 조목조목 반박했"),
    ("person", "work", '{s} 씨는 "{o}" 표를 우연히 얻었'),
    ("organisation", "place", "{s} 측은 {o} 축제를 후원했"),
    ("organisation", "person", "{s} 측은 {o} 씨에게 감사패를 주었"),
)

OPENERS = ("", "알려진 바로는 ", "지역 신문에 따르면 ", "기록을 보면 ", "그 무렵 ", "한 관계자는 말을 아꼈지만 ")
FILLERS = (
    "그해 여름은 예년보다 유난히 더웠",
    "언론은 이 일을 며칠 동안 크게 다뤘",
    "거리는 밤새 내린 눈으로 덮여 있었",
    "사람들은 그 소식에 별 관심이 없었",
)
CONNECTIVES = ("고", "으며,", "는데", "지만")
