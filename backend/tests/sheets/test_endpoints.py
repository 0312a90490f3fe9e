from __future__ import annotations

from tests.service import Service

SHEET = "멘트코드,멘트,속도,쉼,파일명,경로,비고\n" + "\n".join(
    f"A{number:03},안내 말씀 {number}입니다.,,0.5초,guide_{number:03},ivr,메모 {number}"
    for number in range(1, 6)
)


def test_first(service: Service) -> None:
    model = service.model()
    answer = service.post(
        "/sheets",
        params={"preview": "true"},
        files={"file": ("a.csv", SHEET.encode("cp949"))},
        data={"voice_model_id": model},
    )
    assert answer.status_code == 200, answer.text
    print(answer.json())
    answer = service.post(
        "/sheets",
        files={"file": ("a.csv", SHEET.encode("cp949"))},
        data={"voice_model_id": model, "name": "시험"},
    )
    assert answer.status_code == 201, answer.text
    print(answer.json())
    sheet = answer.json()["id"]
    print(service.post(f"/sheets/{sheet}/generate").json())
    service.hands.do_all("tts.generate")
    print(service.get(f"/sheets/{sheet}").json()["states"])
    lines = service.get(f"/sheets/{sheet}/lines").json()["items"]
    print(lines[0])
    print(service.post(f"/sheets/{sheet}/lines/{lines[0]['id']}/approve").json())
    changed = SHEET.replace("말씀 2", "멘트 2").replace("A005", "A006")
    d = service.post(f"/sheets/{sheet}/import", files={"file": ("a.csv", changed.encode())}).json()
    print(d)
    d = service.post(
        f"/sheets/{sheet}/import", files={"file": ("a.csv", changed.encode())}, data={"confirm": d["digest"]}
    ).json()
    print(d["applied"])
    print(service.get(f"/sheets/{sheet}").json()["states"])
    for f in ("csv", "xlsx"):
        e = service.get(f"/sheets/{sheet}/export", params={"format": f})
        print(e.headers)
        d = service.post(f"/sheets/{sheet}/import", files={"file": ("a", e.content)}).json()
        print(d)
    assert service.delete(f"/sheets/{sheet}").status_code == 204
    assert service.files("takes") == []
