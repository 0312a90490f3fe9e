"""Published weights that Moksori can fetch: where, which revision, which hashes, under which licence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class License:
    code: str
    name: str
    url: str
    summary: str


@dataclass(frozen=True, slots=True)
class WeightsFile:
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Release:
    """Published weights at one revision of one repository."""

    name: str
    repository: str
    revision: str
    license: License
    files: tuple[WeightsFile, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


CPML = License(
    code="cpml",
    name="Coqui Public Model License 1.0.0",
    url="https://huggingface.co/coqui/XTTS-v2/blob/main/LICENSE.txt",
    summary=(
        "These weights are not free software. Their licence allows non-commercial use alone, and it counts "
        "for the audio they speak as much as for the files; what a business says to its customers is "
        "commercial. Whoever passes on the weights or their audio passes on the licence or its address. "
        "There is no warranty. The company that gave it has closed, so do not count on buying another."
    ),
)

XTTS_V2 = Release(
    name="xtts-v2",
    repository="coqui/XTTS-v2",
    revision="6c2b0d75eae4b7047358e3b6bd9325f857d43f77",
    license=CPML,
    files=(
        WeightsFile("config.json", 4368, "ef262b1454dd2a77e1461b0b2cd53e19b8a7624cc131b837d36df67356bc75e8"),
        WeightsFile("vocab.json", 361219, "928260878a59da8a72a2a5b7687fea29d5106137669d90945430fe17e415304a"),
        WeightsFile(
            "speakers_xtts.pth", 7754818, "f0f6137c19a4eab0cbbe4c99b5babacf68b1746e50da90807708c10e645b943b"
        ),
        WeightsFile(
            "model.pth", 1867929118, "c7ea20001c6a0a841c77e252d8409f6a74fb423e79b3206a0771ba5989776187"
        ),
    ),
)
RELEASES = {XTTS_V2.name: XTTS_V2}
