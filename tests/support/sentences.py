"""A few sentences, for tokenizers."""

SENTENCES = (
    "조지 해리슨이 쓰고 비틀즈가 부른 노래",
    "비틀즈는 1960년 리버풀에서 결성된 영국의 밴드이다.",
    "이순신은 한성에서 태어나 노량에서 전사했다.",
    "서울대학교 병원은 서울에 있다.",
    "이순신 은 한성 에서",  # a word of the text becomes one piece, so tests may name pieces
)
