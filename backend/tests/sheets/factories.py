"""Sheets for tests: text in, a sheet of the service out."""

from __future__ import annotations

from typing import Any

import httpx

from tests.service import Service

TEXT = "멘트코드,멘트,속도,쉼,파일명,경로,비고\n" + "".join(
    f"A{number},안내 말씀 {number}입니다.,,0.5초,guide_{number},ivr,메모 {number}\n" for number in range(1, 4)
)


def upload(
    service: Service, text: str | bytes = TEXT, path: str = "/sheets", **options: Any
) -> httpx.Response:
    """One upload; `data` has form fields, `values` a second file."""
    data = text if isinstance(text, bytes) else text.encode()
    files = {"file": ("멘트.csv", data)}
    if values := options.pop("values", None):
        files["values"] = ("values.csv", values.encode())
    return service.post(path, files=files, **options)


def make_sheet(service: Service, text: str | bytes = TEXT, *, model: str | None = None, **form: Any) -> str:
    answer = upload(service, text, data={"voice_model_id": model or service.model(), "name": "안내", **form})
    assert answer.status_code == 201, answer.text
    sheet_id: str = answer.json()["id"]
    return sheet_id


def generated_sheet(service: Service, text: str | bytes = TEXT, **options: Any) -> str:
    sheet_id = make_sheet(service, text, **options)
    generate(service, sheet_id)
    return sheet_id


def generate(service: Service, sheet_id: str, **body: Any) -> dict[str, Any]:
    answer = service.post(f"/sheets/{sheet_id}/generate", json=body)
    assert answer.status_code == 202, answer.text
    service.hands.do_all("tts.generate")
    started: dict[str, Any] = answer.json()
    return started


def lines(service: Service, sheet_id: str, **params: Any) -> list[dict[str, Any]]:
    answer = service.get(f"/sheets/{sheet_id}/lines", params=params)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def import_again(
    service: Service, sheet_id: str, text: str | bytes, *, confirm: bool = True
) -> dict[str, Any]:
    """The difference; with `confirm` it is applied too."""
    path = f"/sheets/{sheet_id}/import"
    found = upload(service, text, path)
    assert found.status_code == 200, found.text
    if confirm:
        found = upload(service, text, path, data={"confirm": found.json()["digest"]})
        assert found.status_code == 200, found.text
        assert found.json()["applied"]
    answer: dict[str, Any] = found.json()
    return answer
