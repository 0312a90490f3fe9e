from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from app.kit.schemas import Answer, Body, Text

PresetName = Literal["asterisk", "freeswitch", "genesys-cloud", "avaya", "custom"]
Reason = Literal["unknown", "no_take", "out_of_date", "file_missing", "not_approved"]
Template = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
Rate = Annotated[int, Field(ge=8000, le=48_000)]


class Options(Body):
    """What a preset leaves open. `container`, `codec`, `rate` and `folder` are for `custom` alone."""

    formats: list[Annotated[str, StringConstraints(max_length=20)]] | None = Field(
        None, min_length=1, max_length=10, description="some of the preset's formats, by name"
    )
    name: Template | None = Field(
        None, description="a template of {name}, {code}, {variant}, {path}, {voice}, {number}"
    )
    folder: Annotated[Text, StringConstraints(max_length=200)] | None = Field(
        None, description="a template; `{path}` by default"
    )
    container: Literal["wav", "flac", "mp3", "ogg", "raw"] | None = None
    codec: Literal["pcm16", "pcm24", "ulaw", "alaw", "mp3", "opus", "vorbis"] | None = None
    rate: Rate | None = None
    narrow_band: bool | None = Field(None, description="limit the sound to 300–3400 Hz")
    ascii: bool | None = Field(None, description="romanise Hangul in names")
    lufs: float | None = Field(None, ge=-40, le=-9)
    true_peak: float | None = Field(None, ge=-12, le=0, description="dBTP")
    lead: float | None = Field(None, ge=0, le=5, description="seconds of silence before the announcement")
    tail: float | None = Field(
        None, ge=0, le=5, description="seconds of silence after it, without the line's pause"
    )


class ExportIn(Body):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"sheet_id": "01990000-0000-7000-8000-000000000000", "preset": "asterisk"}
        },
    )

    sheet_id: str | None = Field(None, max_length=100)
    script_ids: list[Annotated[str, StringConstraints(max_length=100)]] | None = Field(
        None, min_length=1, max_length=10_000
    )
    preset: PresetName
    options: Options = Options()
    allow_incomplete: bool = Field(False, description="leave out lines that are not ready, and name them")
    require_approval: bool | None = Field(None, description="by default as the sheet says")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.sheet_id is None) == (self.script_ids is None):
            raise ValueError("name either `sheet_id` or `script_ids`")
        return self


class LeftOut(Answer):
    code: str
    variant: str
    script_id: str
    reason: Reason
    message: str


class NameProblem(Answer):
    code: str
    variant: str
    script_id: str
    problem: str
    message: str


class PlannedFile(Answer):
    code: str
    variant: str
    script_id: str
    file: str
    format: str


class PlanOut(Answer):
    """What an export would make, and what stands in its way. Nothing is made."""

    announcements: int
    files: list[PlannedFile]
    left_out: list[LeftOut]
    names: list[NameProblem]


class PresetOut(Answer):
    name: str
    title: str
    formats: list[str]
    default_formats: list[str]
    max_name_length: int
    ascii: bool
    lufs: float
    true_peak: float
    lead: float
    tail: float
    max_bytes: int | None
