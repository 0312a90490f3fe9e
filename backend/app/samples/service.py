"""An actor's recordings: checked before they are kept, kept before they are acknowledged."""

from __future__ import annotations

import hashlib
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audio.decode import DecodeError, check_upload
from app.config import Settings
from app.deps import Container, forget_files
from app.kit.errors import Invalid
from app.kit.ids import is_id, new_id
from app.models import Sample
from app.samples.errors import SampleFileMissing, SampleNotFound, UnusableRecording, UploadTooLarge
from app.storage.interface import AudioStore, NotThere
from app.voice_actors import service as voice_actors

log = structlog.get_logger()
BUCKET = "samples"
BLOCK = 1 << 20
LABEL_CHARS = 200


@dataclass(frozen=True, slots=True)
class Received:
    """An upload on its way in: a file of ours, its digest, and what the uploader called it."""

    path: Path
    sha256: str
    label: str


def label(file_name: str | None) -> str:
    """A file name as a label: whatever it says, it is never a path of ours."""
    name = "".join(char for char in file_name or "" if char.isprintable())
    return name.replace("\\", "/").rsplit("/", 1)[-1][:LABEL_CHARS].strip() or "recording"


def receive(upload: BinaryIO, folder: Path, file_name: str | None, limit: int) -> Received:
    """Copy an upload into `folder`, hashing as it comes."""
    target = folder / "upload"
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        while block := upload.read(BLOCK):
            size += len(block)
            if size > limit:
                raise UploadTooLarge(f"It has more than {limit:,} bytes.")
            digest.update(block)
            file.write(block)
    return Received(target, digest.hexdigest(), label(file_name))


def add(
    container: Container, actor_id: str, upload: BinaryIO, file_name: str | None, text: str
) -> tuple[Sample, bool]:
    """Keep a recording; the sample, and whether it is new.

    The same bytes are one sample: sent again, they bring back files that went missing.
    """
    with container.database.reading() as session:
        voice_actors.get(session, actor_id)
    inbox = container.settings.inbox_dir
    inbox.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=inbox) as folder:
        received = receive(upload, Path(folder), file_name, container.settings.upload_max_bytes)
        with container.database.reading() as session:
            known = _same(session, actor_id, received.sha256)
        if known and _files_are_there(container.store, known):
            return _retold(container, known.id, text), False
        wav = Path(folder) / "checked.wav"
        try:
            info = check_upload(received.path, wav)
        except DecodeError as error:
            log.info("voice_sample.refused", voice_actor=actor_id, code=error.code)
            raise UnusableRecording(error.code, f"{error}. {error.fix}") from None
        sample = Sample(
            id=known.id if known else new_id(),
            voice_actor_id=actor_id,
            file_name=received.label,
            text_content=text,
            sha256=received.sha256,
            bytes=received.path.stat().st_size,
            format=info.format,
            seconds=info.seconds,
            sample_rate=info.sample_rate,
            channels=info.channels,
            original_key="",
            wav_key="",
            wav_sha256="",
            wav_bytes=0,
        )
        _store(container.store, sample, received.path, wav)
    if known:
        return _restored(container, known.id, sample, text), False
    try:
        with container.database.session() as session:
            voice_actors.get(session, actor_id)  # they may have been deleted meanwhile
            session.add(sample)
            session.flush()
            request_measurement(container, session, sample.id)
    except IntegrityError:  # the same bytes came in twice at once, and the other was faster
        forget_files(container.store, BUCKET, [sample.original_key, sample.wav_key])
        with container.database.reading() as session:
            if other := _same(session, actor_id, received.sha256):
                return other, False
        raise
    # Whatever else goes wrong, the files stay for the sweep: a commit whose answer was lost may have happened.
    log.info("voice_sample.added", sample=sample.id, voice_actor=actor_id, seconds=round(sample.seconds, 2))
    return sample, True


def abandoned_uploads(settings: Settings) -> list[Path]:
    """What a crash left of uploads: folders that nothing was put into for too long to be under way."""
    latest, abandoned = time.time() - settings.orphan_seconds, []
    for folder in settings.inbox_dir.glob("*"):
        with suppress(FileNotFoundError):  # its upload ended meanwhile
            if folder.stat().st_mtime < latest:
                abandoned.append(folder)
    return abandoned


def request_measurement(container: Container, session: Session, sample_id: str) -> None:
    container.jobs.enqueue(
        session, "samples.measure", {"sample_id": sample_id}, job_id=new_id(), queue="measure"
    )


def _same(session: Session, actor_id: str, sha256: str) -> Sample | None:
    return session.scalar(select(Sample).where(Sample.voice_actor_id == actor_id, Sample.sha256 == sha256))


def _store(store: AudioStore, sample: Sample, original: Path, wav: Path) -> None:
    # A key of its own for every storing: what an older row points at is never overwritten.
    stem = f"{sample.voice_actor_id}/{sample.id}/{new_id()}"
    sample.original_key, sample.wav_key = f"{stem}.original", f"{stem}.wav"
    try:
        with original.open("rb") as file:
            store.put(BUCKET, sample.original_key, file)
        with wav.open("rb") as file:
            stored = store.put(BUCKET, sample.wav_key, file)
        sample.wav_sha256, sample.wav_bytes = stored.sha256, stored.bytes
    except BaseException:
        forget_files(store, BUCKET, [sample.original_key, sample.wav_key])
        raise


def _files_are_there(store: AudioStore, sample: Sample) -> bool:
    """Whether both files are there and as long as they were."""
    try:
        sizes = [store.stat(BUCKET, key).bytes for key in (sample.original_key, sample.wav_key)]
    except NotThere:
        return False
    return sizes == [sample.bytes, sample.wav_bytes]


def _retold(container: Container, sample_id: str, text: str) -> Sample:
    """The known sample, with the transcript that came with the repeated upload."""
    with container.database.session() as session:
        sample = get_by_id(session, sample_id)
        if text and text != sample.text_content:
            sample.text_content = text
            request_measurement(
                container, session, sample.id
            )  # the verdict is of the recording and its words
        return sample


def _restored(container: Container, sample_id: str, stored: Sample, text: str) -> Sample:
    with container.database.session() as session:
        sample = get_by_id(session, sample_id)
        old = [sample.original_key, sample.wav_key]
        sample.original_key, sample.wav_key = stored.original_key, stored.wav_key
        sample.wav_sha256, sample.wav_bytes = stored.wav_sha256, stored.wav_bytes
        if text:
            sample.text_content = text
        request_measurement(container, session, sample.id)
    forget_files(container.store, BUCKET, old)
    log.info("voice_sample.restored", sample=sample_id)
    return sample


def get_by_id(session: Session, sample_id: str) -> Sample:
    sample = session.get(Sample, sample_id) if is_id(sample_id) else None
    if sample is None:
        raise SampleNotFound
    return sample


def get(session: Session, actor_id: str, sample_id: str) -> Sample:
    voice_actors.get(session, actor_id)
    sample = get_by_id(session, sample_id)
    if sample.voice_actor_id != actor_id:
        raise SampleNotFound
    return sample


def remove(session: Session, actor_id: str, sample_id: str) -> list[str]:
    """Delete a sample; the store's keys that may go once this is committed."""
    sample = get(session, actor_id, sample_id)
    session.delete(sample)
    log.info("voice_sample.deleted", sample=sample_id)
    return [sample.original_key, sample.wav_key]


def open_audio(store: AudioStore, sample: Sample, original: bool) -> tuple[BinaryIO, int]:
    """The recording, checked or as it was uploaded, and its size in bytes."""
    key = sample.original_key if original else sample.wav_key
    try:
        return store.open(BUCKET, key), store.stat(BUCKET, key).bytes
    except NotThere:
        raise SampleFileMissing from None


def checked_text(text: str, limit: int) -> str:
    if len(text) > limit:
        raise Invalid(
            f"`text_content` has {len(text)} characters; {limit} is the most.", field="text_content"
        )
    return text.strip()
