"""Real actors: the prompts that Debian's Asterisk packages bring."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import soundfile

from app.speech.interface import Recording

SOUNDS = Path("/usr/share/asterisk/sounds")
# Actor to folders: the English and the Spanish prompts are one woman's, the Italian ones a man's.
ACTORS = {
    "Allison": ("en_US_f_Allison", "es_MX_f_Allison"),
    "June": ("fr_CA_f_June",),
    "Carlo": ("it_IT_m_Carlo",),
    "ivrvoice": ("ru_RU_f_IvrvoiceRU",),
}
SENTENCES = (
    "안녕하세요. 주식회사 목소리입니다.",
    "고객님의 전화를 상담원에게 연결하고 있습니다. 잠시만 기다려 주세요.",
    "상담 내용은 서비스 품질 향상을 위하여 녹음됩니다.",
    "결제하실 금액은 삼만 이천오백 원입니다.",
    "예약 번호는 공일공 삼사오 육칠팔구입니다.",
    "처음으로 돌아가시려면 별표를 눌러 주세요.",
    "지금은 점심시간입니다. 오후 한 시 이후에 다시 전화해 주시기 바랍니다.",
    "배송이 시작되었습니다. 내일 오후에 도착할 예정입니다.",
    "죄송합니다. 입력하신 번호가 올바르지 않습니다.",
    "다음 역은 서울역입니다. 내리실 문은 오른쪽입니다.",
    "주민등록번호 앞 여섯 자리를 입력해 주십시오.",
    "카드 분실 신고는 영번을 눌러 주세요.",
    "오늘 서울의 날씨는 맑고 기온은 이십삼 도입니다.",
    "통화량이 많아 연결이 지연되고 있습니다.",
    "이용해 주셔서 감사합니다. 좋은 하루 되세요.",
    "본인 확인을 위해 휴대전화 인증을 진행합니다.",
    "비밀번호를 세 번 이상 틀리셨습니다.",
    "택배 기사님이 문 앞에 물건을 두고 가셨습니다.",
    "회의는 열두 시 삼십 분에 시작하겠습니다.",
    "새로운 소식을 가장 먼저 받아 보세요.",
)
# By these no setting of the engine was chosen: how well it does with what it has not met.
FRESH_SENTENCES = (
    "열차가 곧 들어옵니다. 승객 여러분은 안전선 밖으로 물러나 주세요.",
    "주문하신 음료가 나왔습니다. 카운터에서 받아 가십시오.",
    "청구 금액은 칠만 팔천구백 원이며 납부 기한은 이십오일입니다.",
    "야간에는 경비실로 연락해 주시기 바랍니다.",
    "수업은 월요일과 수요일 오후 네 시에 열립니다.",
    "환불 접수가 완료되었습니다. 영업일 기준 삼 일이 걸립니다.",
    "현재 모든 상담원이 통화 중입니다.",
    "통화를 마치시려면 전화를 끊어 주십시오.",
    "예약하신 객실은 십이 층에 있습니다.",
    "도서관은 매주 월요일에 쉽니다.",
    "차량 번호 네 자리를 눌러 주세요.",
    "건강 검진 전날 저녁부터 금식하셔야 합니다.",
    "우편번호를 모르시면 별표를 누르세요.",
    "내일은 전국에 비가 내리겠습니다.",
    "고객님의 적립금은 만 이천 점입니다.",
    "할인 행사는 이번 주 일요일까지 계속됩니다.",
    "응급 상황이면 즉시 일일구로 전화하십시오.",
    "새 비밀번호를 여덟 자리 이상 입력해 주세요.",
    "출발 시각은 아침 일곱 시 십오 분입니다.",
    "설문 조사에 참여해 주시면 쿠폰을 드립니다.",
)


def prompts(actor: str, seconds: float, held_out: float) -> tuple[list[Recording], list[Recording]]:
    """Some recordings to build a voice from, and others to compare with: always the same ones."""
    folders = [SOUNDS / folder for folder in ACTORS[actor]]
    parts = [_draw(folder, seconds / len(folders), held_out / len(folders)) for folder in folders]
    return [r for part, _ in parts for r in part], [r for _, part in parts for r in part]


def installed() -> list[str]:
    """The actors whose prompts are on this machine."""
    return [name for name, folders in ACTORS.items() if all((SOUNDS / folder).is_dir() for folder in folders)]


def _draw(folder: Path, *seconds: float) -> Sequence[list[Recording]]:
    files = sorted(file for file in folder.rglob("*.wav") if "silence" not in str(file))
    random.Random(7).shuffle(files)
    draws: list[list[Recording]] = [[] for _ in seconds]
    for file in files:
        audio, rate = soundfile.read(file, dtype="float32")
        if len(audio) < rate or audio.ndim > 1:  # a second at least: shorter ones are letters and tones
            continue
        for draw, wanted in zip(draws, seconds, strict=True):
            if sum(len(r.audio) / r.sample_rate for r in draw) < wanted:
                draw.append(Recording(audio, rate))
                break
        else:
            return draws
    return draws
