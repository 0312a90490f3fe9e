"""Write what coqui-tts makes of Korean text, for tests/speech/xtts/test_tokenizer.py to compare with.

    .reference/venv/bin/python tools/reference/tokenizer.py

Trains a small vocabulary of the official shape on the sentences below, so that no published file is
needed, and records the ids of coqui-tts's own tokenizer with it. Runs where coqui-tts is installed.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer

FOLDER = Path(__file__).parents[2] / "backend/tests/speech/xtts/reference"
SPECIAL = ["[STOP]", "[UNK]", "[SPACE]", "[START]"]
LANGUAGES = ["en", "de", "es", "fr", "it", "ko", "pt", "zh-cn", "ja"]

KOREAN = [
    "안녕하세요, 목소리입니다.",
    "고객님, 잠시만 기다려 주세요.",
    "상담원을 연결해 드리겠습니다.",
    "지금은 모든 상담원이 통화 중입니다.",
    "값이 없으면 닭을 읽다 말고 앉아 넓게 삶아라.",
    "물엿과 낱말, 꽃잎과 밭이랑을 봤어요!",
    "각가 갂아 가까, 안아 아나, 압바 아빠, 앗사 아싸, 옷이 오시",
    "영업일은 강아지와 같이, 농업은 농부와 함께",
    "갈라 간나 칼날 신라 설날 왕릉",
    "읽기 핥아 밟고 읊다 곬이 앓아 많이 값싼",
    "월요일부터 금요일까지, 오전 아홉 시부터 오후 여섯 시까지입니다.",
    "번호는 공일공 일이삼사 오육칠팔입니다?",
    "  앞뒤로   빈칸이\t많고\n줄도 바뀝니다.  ",
    '그가 "네" 하고 대답했다.',
    "ㅋㅋ 자모만 있는 글 ㅏㅑ",
    "힣 가 쀍 뷁 퉰",
    "괜찮아요… 정말로요 — 그럼요 (아마도)",
    "예의 의의 왜 외 위 와 워 웨 얘 여유",
    "하나",
    ".",
]
ENGLISH = ["Please hold the line.", "Thank you for calling, goodbye!"]


def train(sentences: list[str]) -> Tokenizer:
    vocabulary = Tokenizer(models.BPE(unk_token="[UNK]"))
    vocabulary.pre_tokenizer = pre_tokenizers.Whitespace()
    special = SPECIAL + [f"[{language}]" for language in LANGUAGES]
    trainer = trainers.BpeTrainer(vocab_size=260, special_tokens=special, show_progress=False)
    vocabulary.train_from_iterator(sentences, trainer)
    return vocabulary


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    spelling = VoiceBpeTokenizer()
    # "ㅋㅋ", "…" and "—" stay out of the training text: the unknown mark has to be seen as well.
    known = [text for text in KOREAN if not set(text) & set("ㅋ…—")]
    train([spelling.preprocess_text(text, "ko") for text in known]).save(str(FOLDER / "vocab.json"))

    reference = VoiceBpeTokenizer(FOLDER / "vocab.json")
    cases = [
        {
            "language": language,
            "text": text,
            "spelled": reference.preprocess_text(text, language),
            "ids": reference.encode(text, language),
        }
        for language, texts in (("ko", KOREAN), ("en", ENGLISH))
        for text in texts
    ]
    # Every final with every initial, in one line an initial: each border that there is.
    borders = [
        "".join(f"{chr(0xAC00 + final)}{chr(0xAC00 + initial * 588)} " for final in range(28))
        for initial in range(19)
    ]
    romanised = [{"text": text, "spelled": reference.preprocess_text(text, "ko")} for text in borders]
    (FOLDER / "tokenizer.json").write_text(
        json.dumps({"cases": cases, "borders": romanised}, ensure_ascii=False, indent=1) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
