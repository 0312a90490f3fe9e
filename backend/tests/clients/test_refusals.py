from __future__ import annotations

from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from app.clients.openai.schemas import SpeechIn
from app.clients.refusals import refusal_of


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"voice": "a\0b"}, "voice"),
        ({"voice": ""}, "voice"),
        ({"voice": "x" * 1000}, "voice"),
        ({"voice": {"id": 7}}, "voice"),
        ({"voice": ["x"]}, "voice"),
        ({"input": "a\0b"}, "input"),
        ({"speed": 9}, "speed"),
    ],
)
def test_a_value_is_named_by_its_field_alone(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        SpeechIn.model_validate({"input": "x", "voice": "x"} | changed)
    errors = [{**each, "loc": ("body", *each["loc"])} for each in refused.value.errors()]
    refusal = refusal_of(RequestValidationError(errors))
    assert refusal.param == field
    assert refusal.message.startswith(f"{field}: ")
    assert "function" not in refusal.message
