"""The generator: so many messages, so many under way, each once, each with an id of its own."""

from collections.abc import Iterator

from pamqp import body as bodies
from pamqp import commands, frame, header

from ladle.lab.generator import Job, messages, run


def job(**more: object) -> Job:
    values: dict[str, object] = {
        "url": "amqp://nowhere/",
        "exchange": "ex",
        "routing_keys": ["one", "two"],
        "bodies": ['{"room": "{n}"}'],
        "count": 5,
        "outstanding": 2,
    }
    return Job(**(values | more))  # type: ignore[arg-type]


def parsed(frames: bytes) -> tuple[commands.Basic.Publish, commands.Basic.Properties, bytes]:
    """(publish, properties, body) of one encoded message."""
    parts = []
    while frames:
        used, _, part = frame.unmarshal(frames)
        parts.append(part)
        frames = frames[used:]
    publish, content, body = parts
    assert isinstance(publish, commands.Basic.Publish)
    assert isinstance(content, header.ContentHeader)
    assert isinstance(body, bodies.ContentBody)
    return publish, content.properties, body.value


def test_requests_have_ids_keys_in_turn_and_unique_bodies() -> None:
    made = messages(job())
    read = [parsed(frames) for _, frames in made]
    assert [publish.routing_key for publish, _, _ in read] == ["one", "two", "one", "two", "one"]
    assert len({body for _, _, body in read}) == 5
    for (name, _), (publish, properties, body) in zip(made, read, strict=True):
        assert publish.exchange == "ex"
        assert properties.correlation_id == name
        assert properties.reply_to == "amq.rabbitmq.reply-to"
        assert properties.headers == {"request_id": name}
        assert name.encode() in body


def test_events_ask_for_no_answer() -> None:
    (_, frames), *_ = messages(job(outstanding=0, persistent=True))
    _, properties, _ = parsed(frames)
    assert properties.delivery_mode == 2
    assert properties.reply_to is None
    assert properties.correlation_id is None


class Broker:
    """Answers what was written, at most three at once; notes how many were under way."""

    def __init__(self, answer: bytes = b'{"status":"ok"}') -> None:
        self.answer = answer
        self.waiting: list[str] = []
        self.most = 0
        self.written = 0
        self.confirmed = 0

    def write(self, data: bytes) -> None:
        while data:
            used, _, part = frame.unmarshal(data)
            data = data[used:]
            if isinstance(part, header.ContentHeader):
                self.written += 1
                self.waiting.append(part.properties.correlation_id or "")
        self.most = max(self.most, len(self.waiting))

    def replies(self) -> Iterator[tuple[str, bytes]]:
        answered, self.waiting = self.waiting[:3], self.waiting[3:]
        yield "somebody-else's", b""
        for name in answered:
            yield name, self.answer

    def await_confirms(self, count: int) -> None:
        assert count <= self.written
        self.confirmed = count


def test_no_more_than_asked_for_are_under_way_and_all_are_answered() -> None:
    broker = Broker()
    wanted = job(count=23, outstanding=4)
    result = run(wanted, broker, messages(wanted))  # type: ignore[arg-type]
    assert (result.sent, result.answered, result.errors) == (23, 23, 0)
    assert broker.most == 4
    assert 0 <= result.p50_ms <= result.p99_ms


def test_errors_are_counted() -> None:
    wanted = job(count=3)
    broker = Broker(b'{"status":"error","error":{}}')
    assert run(wanted, broker, messages(wanted)).errors == 3  # type: ignore[arg-type]


def test_events_are_written_without_waiting_and_all_confirmed_at_the_end() -> None:
    broker = Broker()
    wanted = job(count=450, outstanding=0)
    result = run(wanted, broker, messages(wanted))  # type: ignore[arg-type]
    assert (result.sent, result.answered, broker.written) == (450, 0, 450)
    assert broker.confirmed == 450
