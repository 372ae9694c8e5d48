"""Adds prompts to `data/smollm2_greedy.json`, answered by transformers in float32 and, to be sure, by llama.cpp.

Run by hand, where other engines can be installed: `python tests/kernels/record_greedy.py [PYTHON-FOR-PEERS]`.
A prompt on which the two differ, or where two tokens are almost equally likely, is refused: it would test luck.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

from cocoon.bench.distance import page_windows, perplexity
from cocoon.bench.peers import PEERS, open_peers
from cocoon.kernels.builders.gguf_file import GGUFFile
from cocoon.kernels.builders.vocabulary import tokenizer_from_gguf
from cocoon.kernels.engine.chat import ChatTemplate, Message
from cocoon.kernels.engine.tokenizer import Tokenizer
from cocoon.kernels.fetch import SMOLLM2_135M_INSTRUCT, fetch

FIXTURE = Path(__file__).parent / "data" / "smollm2_greedy.json"
TOKENS = 64
LEAST_MARGIN = 0.005  # logits; the engines differ by less than a tenth of it
PROMPTS = (
    "Write a polite e-mail that asks a landlord to repair a leaking tap.",
    "What is the difference between a virus and a bacterium?",
    "Give me a recipe for pancakes with quantities.",
    "Schreibe drei S\u00e4tze \u00fcber den Rhein.",
    "def fibonacci(n): # finish this function and explain it",
    "Who wrote Hamlet, and what is it about?",
    "Name the planets of the solar system in order.",
    "Describe a walk through a forest in autumn.",
    "Why is the sky blue?",
    "How do I sort a list of numbers in Python?",
)
WANTED = 10  # in the file


def main() -> None:
    path = fetch(SMOLLM2_135M_INSTRUCT)
    with GGUFFile(path) as file:
        tokenizer = Tokenizer(tokenizer_from_gguf(file))
        template = ChatTemplate(file.get("tokenizer.chat_template", str), tokenizer)
    kinds = [replace(kind, forms=tuple(form for form in kind.forms if form.lower() == "f32")) for kind in PEERS]
    python = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    peers, absent = open_peers(path, kinds=kinds, python=python, threads=1, progress=print)
    if absent:
        sys.exit(f"both engines are needed: {absent}")
    fixture = json.loads(FIXTURE.read_text())
    try:
        for prompt in PROMPTS:
            if len(fixture["greedy"]) == WANTED or any(case["prompt"] == prompt for case in fixture["greedy"]):
                continue
            ids = template.encode([Message("user", prompt)])
            one, other = (peers[name].greedy(ids, TOKENS) for name in ("transformers f32", "llama.cpp F32"))
            if one["tokens"] != other["tokens"] or one["least_margin"] < LEAST_MARGIN:
                print(
                    f"not used (margin {one['least_margin']:.5f}, equal {one['tokens'] == other['tokens']}): {prompt}"
                )
                continue
            print(f"recorded (margin {one['least_margin']:.4f}): {prompt}", flush=True)
            fixture["greedy"].append({"prompt": prompt, "prompt_ids": ids, **one})
        windows = page_windows(tokenizer.encode, 8, 64)
        found = {name: round(perplexity(peer.logits(windows), windows), 5) for name, peer in peers.items()}  # type: ignore[arg-type]
        print(found)
        fixture["page"] = {"windows": 8, "length": 64, "perplexity": found}
    finally:
        for peer in peers.values():
            peer.close()
    text = json.dumps(fixture, indent=1)
    FIXTURE.write_text(
        re.sub(r"\[[-\d.,\s]+\]", lambda found: "".join(found[0].split()).replace(",", ", "), text) + "\n"
    )


if __name__ == "__main__":
    main()
