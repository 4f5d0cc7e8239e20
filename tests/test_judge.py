"""The judge of two answers: exact where it can be, by embeddings of a real model in a folder, and
by a real HTTP server on this machine.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from echodistill.core.errors import UserError
from echodistill.models.embeddings import SentenceEncoder
from echodistill.rewards.chat import ATTEMPTS, ChatEndpoint
from echodistill.rewards.judge import Case, judge_rewards, open_comparison, same_text

SECRET = "sk-very-secret"


def case(answer: str, reference: str, *choices: str) -> Case:
    return Case("What is it?", choices, answer, reference)


def never(cases: Sequence[Case]) -> list[bool]:
    raise AssertionError(f"left to a comparison of texts: {cases}")


@pytest.mark.parametrize(
    ("answer", "reference", "choices", "agree"),
    [
        ("B", "the cat", ("dog", "cat"), True),
        ("It is the cat.", "(b) cat", ("dog", "cat"), True),
        ("A", "cat", ("dog", "cat"), False),
        ("no idea", "cat", ("dog", "cat"), False),
        ("no idea", "no idea", ("dog", "cat"), False),  # two failures do not agree
        ("cat", "I cannot tell", ("dog", "cat"), False),
        ("two", "three", ("two", "three"), False),
        ("3", "three", (), True),
        ("There are 3 of them.", "three", (), True),
        ("two", "three", (), False),
        ("1,000", "1000.0", (), True),
        ("one", "1", (), True),
        ("2 or 3", "3", (), False),
        ("Yes, it is.", "yes", (), True),
        ("True", "Yes.", (), True),
        ("no", "yes", (), False),
        ("A dog, no cat", "A dog and two cats", (), False),
        ("two dogs", "three dogs", (), False),  # an embedding would take them for the same
        (" A Dog. ", "a dog", (), True),
        ("", "a dog", (), False),
        ("a dog", " ", (), False),
        ("", "", (), False),
    ],
)
def test_what_can_be_told_exactly_is_left_to_no_comparison(
    answer: str, reference: str, choices: tuple[str, ...], agree: bool
) -> None:
    assert judge_rewards([case(answer, reference, *choices)], never) == [float(agree)]


def test_the_rest_is_compared_at_once_and_in_order() -> None:
    asked: list[Case] = []

    def same(cases: Sequence[Case]) -> list[bool]:
        asked.extend(cases)
        return [one.answer == "a hound" for one in cases]

    cases = [
        case("a cat", "a dog"),
        case("B", "cat", "dog", "cat"),
        case("a hound", "a dog"),
        case("three big dogs", "three dogs"),
        case("red", "the red one"),
    ]
    assert judge_rewards(cases, same) == [0.0, 1.0, 1.0, 0.0, 0.0]
    assert asked == [cases[0], cases[2], cases[3], cases[4]]
    assert judge_rewards([], never) == []
    assert open_comparison("parsed", None, 0.8) is same_text
    assert judge_rewards(cases, same_text) == [0.0, 1.0, 0.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def sentence_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small encoder with random weights, saved as any model of the hub is."""
    folder = tmp_path_factory.mktemp("sentences")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "big", "dog", "hound", "rain"]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder / "model")
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=32).save_pretrained(
        folder / "model"
    )
    return folder / "model"


def test_embeddings_are_masked_means_of_length_one(sentence_model: Path) -> None:
    encoder = SentenceEncoder(str(sentence_model))
    together = encoder(["a dog", "a big big big big dog"])
    assert together.norm(dim=1).tolist() == pytest.approx([1.0, 1.0])
    alone = encoder(["a dog"])  # the padding of a batch changes nothing
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-5)
    ids = encoder._tokenizer("a dog", return_tensors="pt")
    mean = encoder._model(**ids).last_hidden_state[0].mean(dim=0)
    torch.testing.assert_close(alone[0], mean / mean.norm(), atol=1e-5, rtol=1e-5)


def test_texts_are_the_same_from_a_similarity_on(sentence_model: Path) -> None:
    cases = [case("a dog", "a hound"), case("rain", "a big big dog")]
    encoder = SentenceEncoder(str(sentence_model))
    close = [float(encoder([one.answer])[0] @ encoder([one.reference])[0]) for one in cases]
    assert abs(close[0] - close[1]) > 1e-3
    between = sum(close) / 2
    same = open_comparison("embedding", str(sentence_model), between)
    assert same(cases) == [one > between for one in close]
    assert judge_rewards([case("two", "three")], same) == [0.0]


def test_a_sentence_model_that_is_not_there_or_a_pickle_is_one_error(
    sentence_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match=r"^sentence model .*nowhere cannot be loaded: there is no folder"
    ):
        open_comparison("embedding", str(tmp_path / "nowhere"), 0.8)
    for path in sentence_model.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"^sentence model .* cannot be loaded: "):
        SentenceEncoder(str(tmp_path))


@dataclass
class Served:
    """A judge's server on this machine: what it was sent, and what it answers in turn."""

    address: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    answers: list[tuple[int, bytes, dict[str, str]]] = field(default_factory=list)
    """Status, body and headers of the next answers; the last of them is given from then on."""


def completion(text: object) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


@contextmanager
def serving(*answers: tuple[int, bytes, dict[str, str]]) -> Iterator[Served]:
    served = Served(answers=list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            served.requests.append(json.loads(content))
            served.headers.append(dict(self.headers))
            served.paths.append(self.path)
            left = served.answers
            status, body, headers = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_given: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    served.address = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited between attempts, which take none here."""
    waited: list[float] = []
    monkeypatch.setattr("echodistill.rewards.chat.sleep", waited.append)
    return waited


@pytest.fixture
def judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> Callable[[str], Any]:
    """Opens the comparison as a training does."""
    monkeypatch.setenv("ECHODISTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ECHODISTILL_JUDGE_KEY", f" {SECRET}\n")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing is there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def open_at(address: str) -> Any:
        monkeypatch.setenv("ECHODISTILL_JUDGE_URL", address)
        return open_comparison("endpoint", "judge-7b", 0.8)

    return open_at


def test_the_endpoint_is_asked_once_for_each_content(
    judge: Callable[[str], Any], tmp_path: Path
) -> None:
    """Without any proxy, and without the key in what is kept."""
    with serving((200, completion(" Yes."), {})) as served:
        cases = [case("a hound", "a dog"), case("a hound", "a dog"), case("rain", "a dog")]
        assert judge(served.address)(cases) == [True, True, True]
        assert len(served.requests) == 2
        (path,) = set(served.paths)
        assert path == "/v1/chat/completions"
        assert {header["Authorization"] for header in served.headers} == {f"Bearer {SECRET}"}
        for request in served.requests:
            assert (request["model"], request["temperature"]) == ("judge-7b", 0)
            assert "First answer: a dog" in request["messages"][1]["content"]
        served.answers = [(200, completion("No"), {})]
        assert judge(served.address + "/")(cases) == [True, True, True]  # from the disk
        assert len(served.requests) == 2
        assert judge(served.address)([case("rain", "snow")]) == [False]
        files = list((tmp_path / "cache/judge").rglob("*.json"))
        kept = [file.read_text() for file in files]
        assert len(kept) == 3
        assert not any(SECRET in text for text in kept)
        for file in files:
            file.write_text("damaged")
        assert judge(served.address)(cases[2:]) == [False]


@pytest.mark.parametrize(
    ("reply", "verdict"), [("yes", True), ("**Yes**, both.", True), ("No.", False), (" no", False)]
)
def test_only_a_yes_is_one(reply: str, verdict: bool, judge: Callable[[str], Any]) -> None:
    with serving((200, completion(reply), {})) as served:
        assert judge(served.address)([case("a", "b c")]) == [verdict]


@pytest.mark.parametrize("reply", ["I cannot say", "", "not at all", "yesterday"])
def test_a_reply_that_is_neither_yes_nor_no_is_one_error(
    reply: str, judge: Callable[[str], Any]
) -> None:
    message = r"in place of yes or no: choose another .*judge_model"
    with serving((200, completion(reply), {})) as served, pytest.raises(UserError, match=message):
        judge(served.address)([case("a", "b c")])


@pytest.mark.parametrize(
    ("answer", "waited"),
    [
        ((429, b"{}", {"Retry-After": "7"}), [7.0, 14.0]),
        ((429, b"{}", {"Retry-After": "9999"}), [30.0, 30.0]),
        ((503, b"", {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), [1.0, 2.0]),
        ((500, b"busy", {}), [1.0, 2.0]),
        ((200, b"<html>", {}), [1.0, 2.0]),
        ((200, b"{}", {}), [1.0, 2.0]),
        ((200, completion(None), {}), [1.0, 2.0]),
        ((200, completion("yes")[:9], {"Content-Length": "999"}), [1.0, 2.0]),
    ],
)
def test_a_failure_that_passes_is_tried_again(
    answer: tuple[int, bytes, dict[str, str]],
    waited: list[float],
    judge: Callable[[str], Any],
    waits: list[float],
) -> None:
    with serving(answer, answer, (200, completion("yes"), {})) as served:
        assert judge(served.address)([case("a", "b c")]) == [True]
        assert len(served.requests) == 3
    assert waits == waited


@pytest.mark.parametrize(
    ("status", "requests"), [(401, 1), (404, 1), (307, 1), (302, 1), (503, ATTEMPTS)]
)
def test_a_failure_that_stays_is_one_error_without_the_key(
    status: int, requests: int, judge: Callable[[str], Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """A server may repeat the key in its answer, or send the request elsewhere."""
    with (
        serving((200, completion("yes"), {})) as elsewhere,
        serving((status, SECRET.encode(), {"Location": elsewhere.address})) as served,
    ):
        comparison = judge(served.address)
        with pytest.raises(UserError, match=rf"judge at {served.address} .*status {status}") as one:
            comparison([case("a", "b c")])
        assert len(served.requests) == requests
        assert not elsewhere.requests
    assert SECRET not in f"{one.value!r} {one.value.__cause__!r} {one.value.__context__!r}"
    assert SECRET not in repr(comparison)
    assert SECRET not in "".join(capfd.readouterr())


def test_a_server_that_is_not_there_or_does_not_answer_is_one_error(
    tmp_path: Path, waits: list[float]
) -> None:
    with serving((200, completion("yes"), {})) as served:
        gone = ChatEndpoint(served.address, "m", "", tmp_path)
    with pytest.raises(UserError, match=r"judge at .* cannot be used: Connection refused; check"):
        gone.reply("Compare.", "Both?")
    assert waits == [1.0, 2.0, 4.0, 8.0]

    arrived, answering = threading.Event(), threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.set()
            answering.wait(20)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    slow = ChatEndpoint(f"http://localhost:{server.server_port}/v1", "m", "", tmp_path, 0.1)
    started_s = time.monotonic()
    try:
        with pytest.raises(UserError, match=r"cannot be used: TimeoutError; check"):
            slow.reply("Compare.", "Both?")
        assert time.monotonic() - started_s < 15
        assert arrived.is_set()
    finally:
        answering.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("url", "key", "message"),
    [
        ("", "", "ECHODISTILL_JUDGE_URL is not set"),
        ("127.0.0.1:8000", "", r"write http://HOST:PORT/v1"),
        ("http://host:port/v1", "", r"write http://HOST:PORT/v1"),
        ("file:///etc/passwd", "", r"write http://HOST:PORT/v1"),
        (f"http://user:{SECRET}@host/v1", "", "give the key in ECHODISTILL_JUDGE_KEY"),
        (f"http://host/v1?key={SECRET}", "", "give the key in ECHODISTILL_JUDGE_KEY"),
        ("http://host/v1", f"{SECRET}\nX: y", "characters that no header may have"),
        ("http://host/v1", f"{SECRET}é", "characters that no header may have"),
    ],
)
def test_an_address_or_key_that_cannot_be_used_is_told_before_any_work(
    url: str, key: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECHODISTILL_JUDGE_URL", url)
    monkeypatch.setenv("ECHODISTILL_JUDGE_KEY", key)
    with pytest.raises(UserError, match=message) as caught:
        open_comparison("endpoint", "m", 0.8)
    assert SECRET not in str(caught.value)
