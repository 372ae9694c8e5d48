"""A kernel's process that a stranger has taken over: it gets the orders of the real one, and answers what it likes.

Run as `liar.py LIE FOLDER`; FOLDER counts the processes there were, so that a lie may change from one to the next.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cocoon.kernels.bundle.loader import read_manifest
from cocoon.kernels.sandboxed.frames import MAX_ORDER_BYTES, encode_frame, read_frame

Json = dict[str, Any]
PROMPT = 7  # tokens that every prompt has
LETTERS = "abcdefghij"


def send(header: Json, data: bytes = b"") -> None:
    sys.stdout.buffer.write(encode_frame(header, data))
    sys.stdout.buffer.flush()


def raw(header: bytes, data: int = 0, *, claimed: int | None = None) -> None:
    """The beginning of a message that claims to have so many bytes of data, and of its object."""
    sys.stdout.buffer.write(struct.pack(">II", len(header) if claimed is None else claimed, data) + header)
    sys.stdout.buffer.flush()


def orders() -> Iterator[Json]:
    while (found := read_frame(sys.stdin.buffer, MAX_ORDER_BYTES)) is not None:
        yield found[0]


def ready(first: Json, **said: Any) -> None:
    build = read_manifest(Path(first["folder"])).builds[0].id
    about = {"build": build, "longest_token": 1, "text_width": None, "memory_bytes": 1, "device": "cpu", "devices": 1}
    send({"ready": {**about, "enforced": [], **said}})


def token(number: int, at: int, **said: Any) -> None:
    found = {"id": 5 + at, "index": at, "text": LETTERS[at % 10], "logprob": None, "top": []}
    send({"id": number, "token": {**found, **said}})


def started(order: Json, **said: Any) -> None:
    if order["metering"] is not None:
        send({"id": order["id"], "started": {"prompt_tokens": PROMPT, "cached_tokens": 0, **said}})


def finished(number: int, count: int, **said: Any) -> None:
    found = {"reason": "length", "prompt_tokens": PROMPT, "cached_tokens": 0, "completion_tokens": count, "error": None}
    send({"id": number, "finished": {**found, **said}})


def honest(order: Json) -> None:
    """As the real one, but that the answer's letters are those of the alphabet, and the prompt is not read."""
    match order["op"]:
        case "submit":
            started(order)
            for index in range(order["max_tokens"]):
                token(order["id"], index)
            finished(order["id"], order["max_tokens"])
        case "count":
            send({"id": order["id"], "value": PROMPT})


def beats() -> None:
    while True:
        send({"beat": 1})
        time.sleep(0.05)


def forever(order: Json, **said: Any) -> None:
    """Tokens without end."""
    started(order)
    for index in range(10**9):
        token(order["id"], index, **said)


def one(order: Json, **said: Any) -> None:
    started(order)
    token(order["id"], 0, **said)


def end(order: Json, **said: Any) -> None:
    one(order)
    finished(order["id"], 1, **said)


def begin(order: Json, **said: Any) -> None:
    started({**order, "metering": {}}, **said)


def twice(order: Json) -> None:
    end(order)
    finished(order["id"], 1)


def broke(order: Json, tokens: int) -> None:
    send({"id": order["id"], "error": {"type": "OverBudget", "message": "", "tokens": tokens}})


def rest(order: Json) -> None:
    started(order)
    token(order["id"], 2)


def doubled(order: Json) -> None:
    one(order)
    token(order["id"], 0)


# what is answered to "submit"
STREAMS: dict[str, Callable[[Json], None]] = {
    "tokens without end": forever,
    "a token that comes twice": doubled,
    "a token from the middle": lambda order: one(order, index=1),
    "a token before the first": lambda order: one(order, index=-1),
    "a token whose place is no number": lambda order: one(order, index=0.0),
    "a token with a long text": lambda order: one(order, text="x" * 10_000),
    "a token with a text no encoding has": lambda order: one(order, text="\ud800"),
    "a token outside the vocabulary": lambda order: one(order, id=10**9),
    "an end after more tokens": lambda order: end(order, completion_tokens=9),
    "an end with a longer prompt": lambda order: end(order, prompt_tokens=10**9),
    "an end for no reason": lambda order: end(order, reason="fun"),
    "an end that is none": lambda order: send({"id": order["id"], "finished": 1}),
    "an end without a beginning": lambda order: finished(order["id"], 0),
    "an error that is none": lambda order: send({"id": order["id"], "error": []}),
    "an answer to another question": lambda order: send({"id": order["id"], "value": 1}),
    "a list as a number": lambda order: send({"id": [], "token": 1}),
}
# what only answers that are paid for as they grow can be lied to with
METERED: dict[str, Callable[[Json], None]] = {
    "a prompt longer than is paid for": lambda order: begin(order, prompt_tokens=9),
    "a prompt of nothing": lambda order: begin(order, prompt_tokens=0),
    "more from the cache than there is": lambda order: begin(order, cached_tokens=8),
    "too little paid where it is enough": lambda order: broke(order, PROMPT),
    "a prompt longer than any": lambda order: broke(order, 10**9),
    "a token before it starts": lambda order: token(order["id"], 0),
}
# what is answered to "count"
VALUES: dict[str, Any] = {
    "a number without end": float("inf"),
    "no number": float("nan"),
    "less than nothing": -1,
    "a text": "1",
    "more than there are": 10**4000,
    "yes": True,
}
# what is said before it is ready, or in place of that
STARTS: dict[str, Callable[[Json], None]] = {
    "an object without end": lambda _: raw(b"", claimed=1 << 31),
    "data nobody asked for": lambda _: raw(b'{"beat":1}', 1 << 31),
    "programs it has not named": lambda _: raw(b'{"compiled":"x"}', 1 << 20),
    "a program longer than allowed": lambda _: (send({"keeps": ["x"]}), raw(b'{"compiled":"x"}', 1 << 30))[0],
    "no JSON": lambda _: raw(b"{{{{"),
    "a list": lambda _: raw(b"[]"),
    "lists in lists": lambda _: raw(b"[" * 200_000),
    "progress without end": lambda _: raw(b'{"progress":["verify",1e999,1]}'),
    "progress of its own": lambda _: send({"progress": ["[/bold]", 1, 1]}),
    "tokens of no text": lambda first: ready(first, longest_token=0),
    "tokens of enormous texts": lambda first: ready(first, longest_token=1 << 40),
    "enormous vectors": lambda first: ready(first, text_width=1 << 40),
    "another build": lambda first: ready(first, build="0" * 64),
    "half of what belongs there": lambda _: send({"ready": {"enforced": []}}),
}


def arrays(order: Json, count: int, dtype: str = "f32", double: Any = (2, 3), **total: list[int]) -> None:
    """So many bytes, and what they are said to be."""
    described = {"double": [dtype, double], **{name: ["f32", shape] for name, shape in total.items()}}
    send({"id": order["id"], "value": {"arrays": described, "tokens": 0}}, bytes(count))


# what is answered to "map": the model makes `double`, f32[2, 3], and `total`, f32[1, 1]
MAPS: dict[str, Callable[[Json], None]] = {
    "a gibibyte": lambda order: raw(json.dumps({"id": order["id"]}).encode(), 1 << 30),
    "one number too many": lambda order: arrays(order, 32, total=[1, 2]),
    "bytes behind the numbers": lambda order: arrays(order, 28),
    "more bytes than numbers": lambda order: arrays(order, 29, total=[1, 1]),
    "fewer bytes": lambda order: arrays(order, 24, total=[1, 1]),
    "other numbers": lambda order: arrays(order, 28, "i32", total=[1, 1]),
    "another name": lambda order: arrays(order, 28, totals=[1, 1]),
    "less than nothing": lambda order: arrays(order, 28, double=[-2, -3], total=[1, 1]),
    "no arrays": lambda order: send({"id": order["id"], "value": 3}),
}
# what the second process answers, when the first one died behind two tokens
AGAINS: dict[str, Callable[[Json], None]] = {
    "the same": honest,
    "another first token": lambda order: one(order, id=99),
    "another text": lambda order: one(order, text="z"),
    "an earlier end": end,
    "only the rest": rest,
}


def main() -> None:
    lie, folder = sys.argv[1], Path(sys.argv[2])
    run = len(list(folder.iterdir()))
    (folder / str(run)).touch()
    todo = orders()
    first = next(todo)
    if lie in STARTS:
        STARTS[lie](first)
        time.sleep(60)
    if lie == "an error for terminals":
        send({"fatal": {"type": "BundleInvalid", "message": "\x1b[2J\ud800\nbad" + "x" * 100_000}})
    if lie == "an answer for its name":
        ready(first, model_id="00" * 32, kind="map", capacity=1 << 40, slots=1 << 40, enforced=["nothing"])
        ready(first, device="another")
    if lie == "nothing but beats":  # and nothing is read
        ready(first, longest_token=4096)
        beats()
    ready(first)
    for order in todo:
        if lie == "ears without a mouth":
            beats()
        elif lie.startswith("count: ") and order["op"] == "count":
            send({"id": order["id"], "value": VALUES[lie.removeprefix("count: ")]})
        elif lie.startswith("again: ") and order["op"] == "submit" and order["stop"]:
            if run:
                AGAINS[lie.removeprefix("again: ")](order)
                continue
            started(order)
            token(order["id"], 0)
            token(order["id"], 1)
            return
        elif lie in MAPS and order["op"] == "map":
            MAPS[lie](order)
        elif lie in {**STREAMS, **METERED} and order["op"] == "submit" and order["stop"]:
            {**STREAMS, **METERED}[lie](order)
        elif lie == "a death of the second" and run == 0 and not order.get("stop"):
            return
        else:
            honest(order)


if __name__ == "__main__":
    main()
