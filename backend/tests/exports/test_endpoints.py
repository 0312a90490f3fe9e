from __future__ import annotations

import io
import json
import zipfile

from tests.service import Service

SHEET = "멘트코드,멘트,속도,쉼,파일명,경로,비고\n" + "\n".join(
    f"A{number:03},안내 말씀 {number}입니다.,,0.5초,guide_{number:03},ivr,메모 {number}"
    for number in range(1, 6)
)


def test_first(service: Service) -> None:
    model = service.model()
    answer = service.post(
        "/sheets",
        files={"file": ("a.csv", SHEET.encode("cp949"))},
        data={"voice_model_id": model, "name": "시험"},
    )
    sheet = answer.json()["id"]
    print(service.post("/exports", json={"sheet_id": sheet, "preset": "asterisk"}).json()["detail"])
    service.post(f"/sheets/{sheet}/generate")
    service.hands.do_all("tts.generate")
    for preset in ("asterisk", "freeswitch", "genesys-cloud", "avaya", "custom"):
        answer = service.post("/exports", json={"sheet_id": sheet, "preset": preset})
        assert answer.status_code == 200, answer.text
        z = zipfile.ZipFile(io.BytesIO(answer.content))
        print(answer.headers, z.testzip())
        print(z.namelist())
    print(json.loads(z.read("manifest.json")))
