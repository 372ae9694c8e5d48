"""A kernel's process that a stranger has taken over says and does what it likes: it is ended, and that is all.

`liar.py` stands for the process. Requests with a stop string are those it lies to; the others it answers.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from liar import AGAINS, LETTERS, MAPS, METERED, PROMPT, STARTS, STREAMS, VALUES
from loops import scaled

from cocoon.kernels.builders.blueprint import BuildOptions
from cocoon.kernels.builders.function import blueprint_from_function
from cocoon.kernels.builders.pack import write_bundle
from cocoon.kernels.bundle.limits import Limits
from cocoon.kernels.bundle.loader import read_manifest
from cocoon.kernels.engine.request import Finished, Metering, Started, Token
from cocoon.kernels.errors import BundleInvalid, InvalidRequest, KernelCrashed, KernelError
from cocoon.kernels.sandboxed import process
from cocoon.kernels.sandboxed.host import KernelHost
from cocoon.kernels.sandboxed.process import Order

LIAR = Path(__file__).with_name("liar.py")
FREE = 10**9
STEP_SEC = 1.0

type Make = Callable[..., KernelHost]


@pytest.fixture
def lying(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """A loaded host whose process tells this lie."""
    made: list[KernelHost] = []

    def make(lie: str, folder: Path = tiny_bundle, step_sec: float = 60.0) -> KernelHost:
        runs = tmp_path / "runs"
        runs.mkdir(exist_ok=True)
        monkeypatch.setattr(process, "CHILD", (sys.executable, str(LIAR), lie, str(runs)))
        host = KernelHost(Order(folder, compiled=tmp_path / "compiled", limits=Limits(step_sec=step_sec)))
        made.append(host)
        host.load()
        return host

    yield make
    for host in made:
        host.close()


@pytest.fixture(scope="module")
def map_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("map") / "b"
    examples = {"x": np.ones((2, 3), np.float32)}
    write_bundle(blueprint_from_function(scaled, examples, name="scaled", licence="MIT"), [BuildOptions()], folder)
    return folder


def start(host: KernelHost, told: Callable[[Any], None], **metering: int) -> Any:
    """A request it lies to, of four tokens."""
    paid = {"prepaid": PROMPT + 1, "allowed": 4, "prompt_weight": 0, "answer_weight": 0, "budget": FREE}
    return host.start("hi", Metering(**{**paid, **metering}), told, max_tokens=4, stop=["!"])


def until_end(told: queue.SimpleQueue[Any]) -> list[Any]:
    found = [told.get(timeout=60)]
    while not isinstance(found[-1], Finished | Exception):
        found.append(told.get(timeout=60))
    return found


def is_well(host: KernelHost) -> bool:
    """Whether requests of others are still answered, several at once and by themselves."""
    return host.complete("hi", max_tokens=3).text == LETTERS[:3] and host.count_tokens("hi") == PROMPT


# ---- what it says ----


@pytest.mark.parametrize("lie", STARTS)
def test_process_that_starts_with_nonsense_is_ended(lying: Make, lie: str) -> None:
    with pytest.raises(KernelCrashed, match=r"said nonsense .* while it loaded the bundle"):
        lying(lie)


def test_error_of_a_taken_process_is_one_short_line_of_text(lying: Make) -> None:
    with pytest.raises(BundleInvalid) as caught:
        lying("an error for terminals")
    assert str(caught.value).isprintable()
    assert str(caught.value).split("x")[0] == " [2J  bad"
    assert len(str(caught.value)) <= 2000


def test_what_the_model_is_the_parent_has_read_itself(lying: Make, tiny_bundle: Path) -> None:
    host = lying("an answer for its name")
    build = read_manifest(tiny_bundle).builds[0]
    assert host.model_id == read_manifest(tiny_bundle).model_id
    assert host.build_id == build.id
    found = {name: host.about[name] for name in ("kind", "capacity", "slots", "device")}
    assert found == {"kind": "generate", "capacity": build.capacity, "slots": build.slots, "device": "cpu"}


@pytest.mark.parametrize("lie", STREAMS)
def test_answer_that_is_nonsense_ends_the_process_and_only_its_request_fails(lying: Make, lie: str) -> None:
    host = lying(lie)
    shown = []
    with pytest.raises(KernelCrashed, match="said nonsense"):  # noqa: PT012 - what came before counts, too
        for token in host.generate("hi", max_tokens=4, stop=["!"]):
            shown.append(token)
    assert "".join(token.text for token in shown) == LETTERS[: len(shown)]
    assert len(shown) <= 4
    assert is_well(host)


@pytest.mark.parametrize("lie", STREAMS | METERED)
def test_metered_answer_that_is_nonsense_ends_the_process_and_only_its_request_fails(lying: Make, lie: str) -> None:
    host = lying(lie)
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    start(host, told.put)
    *shown, last = until_end(told)
    assert isinstance(last, KernelCrashed)
    assert "said nonsense" in str(last)
    assert "over this request" in str(last)
    assert [event.index for event in shown[1:]] == list(range(len(shown[1:])))
    assert len(shown) <= 1 + 4
    assert is_well(host)


@pytest.mark.parametrize(
    ("most", "paid"), [(2, {"allowed": 2}), (1, {"allowed": 0}), (3, {"answer_weight": 2, "budget": 7})]
)
def test_no_more_tokens_are_told_than_are_allowed_or_paid_for(lying: Make, most: int, paid: dict[str, int]) -> None:
    host = lying("tokens without end")
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    start(host, told.put, **paid)
    *shown, last = until_end(told)
    assert isinstance(last, KernelCrashed)
    assert [event.index for event in shown if isinstance(event, Token)] == list(range(most))


@pytest.mark.parametrize("lie", VALUES)
def test_count_that_is_none_ends_the_process(lying: Make, lie: str) -> None:
    host = lying(f"count: {lie}")
    with pytest.raises(KernelCrashed, match="said nonsense"):
        host.count_tokens("hi")
    assert host.complete("hi", max_tokens=2).text == LETTERS[:2]


@pytest.mark.parametrize("lie", MAPS)
def test_arrays_that_are_not_the_models_end_the_process(lying: Make, map_bundle: Path, lie: str) -> None:
    host = lying(lie, map_bundle)
    with pytest.raises(KernelCrashed, match="said nonsense"):
        host.map({"x": np.ones((2, 3), np.float32)})


# ---- what it does not do ----


@pytest.mark.parametrize(("requests", "step_sec"), [(1, STEP_SEC), (100, 60.0)], ids=["one", "too many"])
def test_process_that_does_not_listen_holds_nobody_up_and_is_ended(lying: Make, requests: int, step_sec: float) -> None:
    """One request that does not get through in time, and more of them than may wait, at once."""
    host = lying("nothing but beats", step_sec=step_sec)
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    first = host.running()
    began = time.monotonic()
    metering = Metering(FREE, 10, 0, 0, FREE)
    running = [host.start("x" * 1_000_000, metering, told.put, max_tokens=10) for _ in range(requests)]
    for run in running:
        run.allow(20)
        run.cancel()
    took = time.monotonic() - began
    assert took < (0.5 if requests == 1 else 5), took  # to encode them, and no waiting
    until = time.monotonic() + 20
    while first.alive:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert "did not listen" in str(first.crashed())
    if requests == 1:
        assert until_end(told) == [Finished("cancelled", 0, 0, 0)]


def test_process_that_talks_and_never_answers_is_ended(lying: Make) -> None:
    host = lying("ears without a mouth", step_sec=STEP_SEC)
    with pytest.raises(KernelCrashed, match="talked without answering"):
        host.count_tokens("hi")


def test_process_that_goes_on_when_it_is_cancelled_is_ended(lying: Make) -> None:
    host = lying("ears without a mouth", step_sec=STEP_SEC)
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    with pytest.raises(KernelCrashed, match="talked without answering"):
        host.complete("hi", cancel=cancel)
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    start(host, told.put).cancel()
    assert until_end(told)[-1] == Finished("cancelled", 0, 0, 0)


# ---- what can't be asked ----


def test_request_that_can_not_be_sent_is_refused_and_not_waited_for(lying: Make, map_bundle: Path) -> None:
    host = lying("nothing", map_bundle, step_sec=STEP_SEC)
    with pytest.raises(InvalidRequest, match="can't be given to the model"):
        host.map_texts(["x" * (64 << 20)])
    time.sleep(2 * STEP_SEC)  # a question that is still open would end the process now
    assert (host.ready, host.crashes) == (True, 0)


@pytest.mark.parametrize("number", [10**5000, object()], ids=["too many digits", "no number"])
def test_answer_that_can_not_be_asked_for_is_refused_and_leaves_nothing(lying: Make, number: Any) -> None:
    host = lying("nothing", step_sec=STEP_SEC)
    with pytest.raises(InvalidRequest):
        host.complete("hi", max_tokens=number)
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with pytest.raises(InvalidRequest):
        host.start("hi", Metering(FREE, 1, 0, 0, FREE), told.put, max_tokens=number)
    time.sleep(2 * STEP_SEC)
    assert (host.ready, host.crashes) == (True, 0)
    assert told.empty()
    assert is_well(host)


# ---- what it says the second time ----


@pytest.mark.parametrize("lie", AGAINS)
def test_answer_made_again_is_the_same_or_an_error(lying: Make, lie: str) -> None:
    host = lying(f"again: {lie}")
    generation = host.generate("hi", max_tokens=4, stop=["!"])
    if lie == "the same":
        assert "".join(token.text for token in generation) == LETTERS[:4]
        assert generation.completion is not None
        assert generation.completion.tokens == (5, 6, 7, 8)
    else:
        shown = []
        with pytest.raises(KernelError, match="said nonsense" if lie == "only the rest" else "another answer"):  # noqa: PT012
            for token in generation:
                shown.append(token)
        assert [token.id for token in shown] == [5, 6]
    assert is_well(host)


@pytest.mark.parametrize("lie", AGAINS)
def test_metered_answer_made_again_is_the_same_or_an_error(lying: Make, lie: str) -> None:
    host = lying(f"again: {lie}")
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    start(host, told.put)
    *shown, last = until_end(told)
    tokens = [5, 6, 7, 8] if lie == "the same" else [5, 6]
    assert shown == [Started(PROMPT, 0), *(Token(5 + i, i, LETTERS[i]) for i in range(len(tokens)))]
    if lie == "the same":
        assert last == Finished("length", PROMPT, 0, 4)
    else:
        assert isinstance(last, KernelError)
        assert ("said nonsense" if lie == "only the rest" else "another answer") in str(last)
    assert told.empty()
    assert is_well(host)


# ---- who asks ----


def test_one_who_can_not_be_told_keeps_nobody_else_out(lying: Make) -> None:
    """Neither the process nor the doors: the next answer has to be made alone, behind a death."""
    host = lying("a death of the second")
    heard = []

    def told(event: Any) -> None:
        heard.append(event)
        raise RuntimeError("Event loop is closed")

    start(host, told)
    assert is_well(host)
    assert host.crashes == 1
    assert heard == [Started(PROMPT, 0)]


def test_answer_that_can_not_be_made_again_is_an_error_and_keeps_nobody_out(
    lying: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = lying("again: the same")
    child = process.CHILD
    monkeypatch.setattr(process, "CHILD", ("/nowhere/python",))
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    start(host, told.put)
    last = until_end(told)[-1]
    assert isinstance(last, KernelCrashed)
    assert "can't be started" in str(last)
    monkeypatch.setattr(process, "CHILD", child)
    assert is_well(host)
