"""Speech that is heard while it is made: through the socket of a worker, and by the job where there is none."""

from __future__ import annotations

import asyncio
import fcntl
import json
import resource
import socket
import stat
from collections.abc import Iterator
from contextlib import nullcontext, suppress

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError

from app.audio.loudness import loudness_lufs
from app.generation.live import listening, server, speech
from app.generation.live.frames import folder_of
from app.generation.live.listening import NotSpoken
from app.generation.live.orders import Order
from app.generation.live.server import LiveServer
from app.generation.live.speech import Begun, Ended, speak
from app.kit.database import SQLITE_FULL
from app.kit.errors import AppError
from app.models import Generation, Script, Take
from app.speech.interface import SpeechError
from app.storage.interface import StoreFull
from tests.service import NOBODY, TEXT, Service

LONG = "상담원 연결은 영 번을 눌러 주세요. " * 190


@pytest.fixture
def live(service: Service) -> Iterator[LiveServer]:
    """A worker's socket, over the service's own parts."""
    offered = LiveServer(service.container, "w1")
    offered.start()
    yield offered
    offered.stop()


def listen(service: Service, order: Order) -> tuple[str, np.ndarray, int]:
    """Generation, audio and rate of an order, heard to the end."""

    async def whole() -> tuple[str, np.ndarray, int]:
        speech = await listening.speak(service.container, order)
        try:
            parts = [audio async for audio in speech.chunks()]
        finally:
            speech.close()
        return speech.generation_id, np.concatenate(parts), speech.rate

    return asyncio.run(whole())


def test_what_is_heard_is_the_take(any_service: Service) -> None:
    service = any_service
    model = service.model()
    order = Order("OpenAI", model, "안내입니다. 내선 번호는 02-1234-5678번입니다.", speed=1.25, seed=7)
    begun, *heard, ended = speak(service.container, order)
    assert isinstance(begun, Begun)
    assert isinstance(ended, Ended)
    assert begun.generation_id == ended.generation_id
    audio = np.concatenate([part for part in heard if isinstance(part, np.ndarray)])
    take = service.generation(ended.generation_id)["take"]
    assert len(audio) / begun.rate == pytest.approx(take["seconds"], abs=0.05)
    assert loudness_lufs(audio, begun.rate) == pytest.approx(take["report"]["lufs"], abs=1)
    script = service.row(Script, order.script_id)
    assert (script.title, script.text, script.speed, script.seed) == ("OpenAI", order.text, 1.25, 7)
    assert script.current_take_id == take["id"]
    assert service.generate(script.id)["take"]["sha256"] == take["sha256"]  # a job makes the same
    assert service.batch([script.id])["unchanged"] == 1


def test_a_client_has_one_script_a_voice(service: Service, live: LiveServer) -> None:
    first, second = service.model(), service.model()
    orders = [
        Order("OpenAI", first, "하나."), Order("OpenAI", first, "둘입니다."), Order("ElevenLabs", first, "셋."),
        Order("OpenAI", second, "넷."),
    ]  # fmt: skip
    for order in orders:
        listen(service, order)
    assert service.count(Script) == 3
    assert service.row(Script, orders[0].script_id).text == "둘입니다."
    assert service.count(Take) == 4


def test_a_socket_gives_what_the_speaker_gave(service: Service, live: LiveServer) -> None:
    order = Order("OpenAI", service.model(), TEXT)
    plain = [part for part in speak(service.container, order) if isinstance(part, np.ndarray)]
    generation, audio, rate = listen(service, order)
    np.testing.assert_array_equal(audio, np.concatenate(plain))
    assert (service.generation(generation)["status"], rate) == ("done", 24_000)


def test_who_stops_listening_stops_the_work(service: Service, live: LiveServer) -> None:
    order = Order("OpenAI", service.model(), LONG)

    async def leave() -> str:
        speech = await listening.speak(service.container, order)
        async for _ in speech.chunks():
            break
        speech.close()
        while service.row(Generation, speech.generation_id) is None:
            await asyncio.to_thread(service.files, "takes")
        return speech.generation_id

    shown = service.generation(asyncio.run(leave()))
    assert (shown["status"], shown["take"]) == ("cancelled", None)
    assert service.files("takes") == []
    assert service.container.speaker._sinks == {}


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [("안녕 漢", 422, "unclear_text"), ("<speak>", 422, "bad_markup"), ("...", 422, "speech_failed")],
)
def test_what_cannot_be_spoken_is_refused_and_kept(
    service: Service, live: LiveServer, text: str, status: int, reason: str
) -> None:
    order = Order("OpenAI", service.model(), text)
    with pytest.raises(NotSpoken) as refused:
        listen(service, order)
    assert (refused.value.answer, refused.value.reason, refused.value.retry) == (status, reason, False)
    kept = service.last_generation(order.script_id)
    assert (kept.outcome, kept.failure and kept.failure["code"]) == ("failed", reason)


def test_an_untrained_or_unknown_voice_is_refused(service: Service, live: LiveServer) -> None:
    for model in (service.model(ready=False), NOBODY):
        with pytest.raises(NotSpoken) as refused:
            listen(service, Order("OpenAI", model, TEXT))
        assert (refused.value.answer, refused.value.reason) == (409, "voice_not_ready")


class Passing(SpeechError):
    retry = True


class Flaky:
    """An engine's stream that breaks off some times, at once or after its first clip."""

    def __init__(self, service: Service, error: SpeechError, times: int, after: int = 0) -> None:
        self.given = service.container.speaker.in_order
        self.error, self.left, self.after, self.calls = error, times, after, 0

    def __call__(self, *arguments: object) -> Iterator[object]:
        self.calls += 1
        for number, clip in enumerate(self.given(*arguments)):  # type: ignore[arg-type]
            if self.left and number >= self.after:
                self.left -= 1
                raise self.error
            yield clip


@pytest.mark.parametrize(
    ("times", "after", "calls", "outcome"), [(2, 0, 3, "done"), (3, 0, 3, "failed"), (1, 1, 1, "failed")]
)
def test_another_try_is_made_while_nothing_was_heard(
    service: Service, monkeypatch: pytest.MonkeyPatch, times: int, after: int, calls: int, outcome: str
) -> None:
    flaky = Flaky(service, Passing("The engine was closed."), times, after)
    monkeypatch.setattr(service.container.speaker, "in_order", flaky)
    order = Order("OpenAI", service.model(), TEXT)
    with nullcontext() if outcome == "done" else pytest.raises(Passing):
        list(speak(service.container, order))
    assert (service.last_generation(order.script_id).outcome, flaky.calls) == (outcome, calls)


def test_a_take_that_cannot_be_kept_is_never_a_good_end(
    service: Service, live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreFull("The disk is full.", "Free some space.")

    order = Order("OpenAI", service.model(), TEXT)
    monkeypatch.setattr(service.container.store, "put", full)
    with pytest.raises(NotSpoken) as refused:
        listen(service, order)
    assert (refused.value.answer, refused.value.reason) == (507, "storage_full")
    assert service.last_generation(order.script_id).outcome == "failed"


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [(SQLITE_FULL, 507, "storage_full"), (10, 503, "database_unavailable")],
)
@pytest.mark.parametrize("store", ["takes it", "is full"])
def test_a_database_that_takes_no_end_is_told(
    service: Service, live: LiveServer, monkeypatch: pytest.MonkeyPatch,
    number: int, status: int, code: str, store: str,
) -> None:  # fmt: skip
    def full(*_: object, **__: object) -> None:
        raise StoreFull("The disk is full.", "Free some space.")

    def refuse(*_: object) -> None:
        error = Exception("of SQLite")
        error.sqlite_errorcode = number  # type: ignore[attr-defined]
        raise OperationalError("INSERT", {}, error)

    order = Order("OpenAI", service.model(), TEXT)
    if store == "is full":
        monkeypatch.setattr(service.container.store, "put", full)
        status, code = 507, "storage_full"
    monkeypatch.setattr(speech, "script_of", refuse)
    with pytest.raises(NotSpoken) as refused:
        listen(service, order)
    assert (refused.value.answer, refused.value.reason) == (status, code)


def test_a_worker_that_dies_is_noticed(
    service: Service, live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Iterator[object]:
        yield Begun("x", 24_000, "mock")
        yield np.zeros(10, np.float32)
        raise MemoryError

    monkeypatch.setattr(server, "speak", broken)
    with pytest.raises(NotSpoken) as cut:
        listen(service, Order("OpenAI", service.model(), TEXT))
    assert (cut.value.answer, cut.value.reason, cut.value.retry) == (503, "worker_lost", True)


def test_more_than_there_is_room_for_are_told_to_come_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "AT_ONCE", 1)
    crowded = LiveServer(service.container, "w2")
    crowded.start()
    order = Order("OpenAI", service.model(), LONG)

    async def two() -> NotSpoken:
        first = await listening.speak(service.container, order)
        with pytest.raises(NotSpoken) as refused:
            await listening.speak(service.container, order)
        first.close()
        return refused.value

    refused = asyncio.run(two())
    assert (refused.answer, refused.reason, refused.retry) == (429, "too_busy", True)
    crowded.stop()


def test_a_worker_that_is_stopped_lets_a_listener_hear_the_rest(service: Service, live: LiveServer) -> None:
    order = Order("OpenAI", service.model(), TEXT)

    async def hear() -> None:
        speech = await listening.speak(service.container, order)
        live.withdraw()
        assert listening._workers(service.container.settings.state_dir) == []
        stopping = asyncio.create_task(asyncio.to_thread(live.stop, 20.0))
        parts = [audio async for audio in speech.chunks()]
        await stopping
        speech.close()
        assert (
            service.generation(speech.generation_id)["take"]["seconds"] == sum(map(len, parts)) / speech.rate
        )

    asyncio.run(hear())


def test_who_has_left_is_seen_by_a_worker_of_many_files() -> None:
    ours, theirs = socket.socketpair()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    try:
        with ours, theirs, socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD, 1500)) as far:
            assert not server._has_left(far)
            theirs.close()
            assert server._has_left(far)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- who may ask --------------------------------------------------------------------------------------


def address(service: Service) -> dict[str, object]:
    [file] = folder_of(service.container.settings.state_dir).iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    facts: dict[str, object] = json.loads(file.read_text())
    return facts


@pytest.mark.parametrize(
    "line",
    [
        b'{"secret": "wrong", "client": "OpenAI", "voice_model_id": "x", "text": "x"}\n',
        b'{"client": "OpenAI"}\n',
        b"[]\n",
        b"\xff\xfe\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"x" * 300_000,
    ],
)
def test_a_stranger_is_told_nothing(service: Service, live: LiveServer, line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", address(service)["port"])) as stranger:
        stranger.settimeout(20)
        greeting = stranger.recv(100)
        assert str(address(service)["secret"]).encode() not in greeting
        received = b""
        with suppress(ConnectionError):
            stranger.sendall(line)
            received = stranger.recv(100)
        assert received == b""
    assert service.count(Generation) == 0


def test_a_stranger_at_a_dead_workers_port_hears_nothing(service: Service, live: LiveServer) -> None:
    facts = address(service)
    live.stop()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        file = folder_of(service.container.settings.state_dir) / "live-gone.json"
        file.write_text(json.dumps({**facts, "port": stranger.getsockname()[1], "secret": "another"}))

        async def ask() -> object:
            asking = asyncio.ensure_future(
                listening._LiveSpeech.ask(
                    {**json.loads(file.read_text()), "file": file}, Order("OpenAI", "x", "비밀")
                )
            )
            connection, _ = await asyncio.get_running_loop().run_in_executor(None, stranger.accept)
            with connection:
                connection.sendall(b"hello\n")
                answer = await asking
                assert await asyncio.to_thread(connection.recv, 100) == b""
            return answer

        assert asyncio.run(ask()) is None


def test_one_that_does_not_greet_is_hung_up_on(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "CONNECT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = {"port": silent.getsockname()[1], "secret": "x"}

        async def ask() -> bytes:
            assert await listening._LiveSpeech.ask(address, Order("OpenAI", "x", "비밀")) is None
            connection, _ = silent.accept()
            with connection:
                connection.settimeout(20)
                return await asyncio.to_thread(connection.recv, 100)

        assert asyncio.run(ask()) == b""


# --- without a worker that speaks live ----------------------------------------------------------------


def test_without_a_live_worker_the_job_speaks(service: Service) -> None:
    order = Order("OpenAI", service.model(), TEXT)
    with service.hands.at_work():
        generation, audio, rate = listen(service, order)
    take = service.generation(generation)["take"]
    assert len(audio) / rate == take["seconds"]
    assert service.row(Script, order.script_id).current_take_id == take["id"]


def test_the_jobs_failure_is_the_answer(service: Service) -> None:
    with service.hands.at_work(), pytest.raises(NotSpoken) as refused:
        listen(service, Order("OpenAI", service.model(), "漢"))
    assert (refused.value.answer, refused.value.reason) == (422, "unclear_text")
    with pytest.raises(AppError):
        listen(service, Order("OpenAI", service.model(ready=False), TEXT))


def _until_queued(service: Service) -> None:
    while not service.hands.queued():
        pass


def test_who_does_not_wait_for_the_job_stops_it(service: Service) -> None:
    async def leave() -> None:
        asking = asyncio.ensure_future(
            listening.speak(service.container, Order("OpenAI", service.model(), TEXT))
        )
        await asyncio.to_thread(_until_queued, service)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(leave())
    assert service.hands.queued() == []


def test_the_address_of_a_worker_that_died_is_forgotten(service: Service) -> None:
    folder = folder_of(service.container.settings.state_dir)
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    dead = {"host": socket.gethostname(), "port": port, "secret": "x", "pid": 1}
    (folder / "live-dead.json").write_text(json.dumps(dead))
    (folder / "live-elsewhere.json").write_text(json.dumps(dead | {"host": "another machine"}))
    (folder / "live-broken.json").write_text("{")
    with service.hands.at_work():
        listen(service, Order("OpenAI", service.model(), TEXT))
    assert sorted(file.name for file in folder.iterdir()) == ["live-broken.json", "live-elsewhere.json"]


def test_a_folder_that_cannot_be_written_offers_nothing(service: Service) -> None:
    folder = folder_of(service.container.settings.state_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.touch()
    offered = LiveServer(service.container, "w3")
    offered.start()
    assert not offered._thread.is_alive()
    assert listening._workers(service.container.settings.state_dir) == []
    offered.stop()
