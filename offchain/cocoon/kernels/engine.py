"""The engine: a model that is loaded once and answers requests. Deterministic: the same request gives the same answer.

"The same" holds for one machine type and jaxlib release; sums differ in their last bits between others. Requests
may run in several threads at once: each has its own cache and shares the weights.
"""

import hashlib
import platform
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp

from cocoon.kernels.chat import ChatTemplate, Message
from cocoon.kernels.errors import InvalidRequest, ModelIntegrityError, NotLoaded, PromptTooLong
from cocoon.kernels.fetch import SMOLLM2_135M_INSTRUCT, ModelSource, cache_dir, fetch
from cocoon.kernels.generation import Completion, Generation
from cocoon.kernels.gguf_file import GGUFFile
from cocoon.kernels.gguf_model import read_config, read_weights
from cocoon.kernels.llama import LlamaConfig, LlamaWeights
from cocoon.kernels.manifest import model_id
from cocoon.kernels.progress import Progress, ProgressCallback, silent
from cocoon.kernels.sampling import GREEDY, Sampling, choose
from cocoon.kernels.session import Session
from cocoon.kernels.tokenizer import Tokenizer

__all__ = ["Engine"]


@dataclass(frozen=True, slots=True)
class _Loaded:
    config: LlamaConfig
    weights: LlamaWeights
    tokenizer: Tokenizer
    template: ChatTemplate


class Engine:
    """One model on the default JAX device."""

    def __init__(self, source: ModelSource = SMOLLM2_135M_INSTRUCT, *, directory: Path | None = None) -> None:
        """directory: where model and compiled programs are kept; None means `cache_dir()`. Does no I/O."""
        self._source = source
        self._directory = directory
        self._loading = threading.Lock()
        self._loaded: _Loaded | None = None

    @property
    def model_id(self) -> bytes:
        """32 bytes, known before loading; `load` makes sure that the model is this one."""
        return self._source.model_id

    @property
    def context_length(self) -> int:
        """Prompt and answer together can't have more tokens."""
        return self._ready().config.context_length

    def load(self, progress: ProgressCallback = silent) -> None:
        """Fetches (once), verifies and reads the model, and compiles what the first answer needs. Idempotent.

        Raises ModelFetchError, ModelIntegrityError, ModelFormatError or UnsupportedModel.
        """
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load(progress)

    def generate(
        self,
        prompt: str | Sequence[Message],
        *,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        sampling: Sampling = GREEDY,
        cancel: threading.Event | None = None,
    ) -> Generation:
        """Starts an answer to a conversation, or to a text as its only message; iterate over the result to run it.

        max_tokens: None means as many as the context holds. stop: the answer ends before the first of these texts. The
        prompt is checked here: raises PromptTooLong or InvalidRequest at once, and NotLoaded before `load`.
        """
        ready = self._ready()
        if max_tokens is not None and max_tokens < 1:
            raise InvalidRequest(f"max_tokens is {max_tokens}: ask for at least one")
        messages = [Message("user", prompt)] if isinstance(prompt, str) else prompt
        tokens = self._encode(ready, messages)
        room = ready.config.context_length - len(tokens)
        return Generation(
            Session(ready.config, ready.weights),
            ready.tokenizer,
            tokens,
            max_tokens=room if max_tokens is None else min(max_tokens, room),
            stop=stop,
            sampling=sampling,
            cancel=cancel,
        )

    def complete(
        self,
        prompt: str | Sequence[Message],
        *,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        sampling: Sampling = GREEDY,
        cancel: threading.Event | None = None,
    ) -> Completion:
        """`generate`, run to its end."""
        return self.generate(prompt, max_tokens=max_tokens, stop=stop, sampling=sampling, cancel=cancel).finish()

    def count_tokens(self, prompt: str | Sequence[Message]) -> int:
        """Tokens the prompt takes, with the chat template's. Raises as `generate` does."""
        messages = [Message("user", prompt)] if isinstance(prompt, str) else prompt
        return len(self._encode(self._ready(), messages))

    def _ready(self) -> _Loaded:
        if self._loaded is None:
            raise NotLoaded("call Engine.load() first")
        return self._loaded

    @staticmethod
    def _encode(ready: _Loaded, messages: Sequence[Message]) -> list[int]:
        limit = ready.config.context_length - 1  # room for one token of the answer
        # A text this long can't fit however it is tokenized; don't spend time on it.
        least = sum(len(m.content) for m in messages) // ready.tokenizer.longest_bytes
        if least > limit:
            raise PromptTooLong(least, limit)
        tokens = ready.template.encode(messages)
        if len(tokens) > limit:
            raise PromptTooLong(len(tokens), limit)
        return tokens

    def _load(self, progress: ProgressCallback) -> _Loaded:
        root = cache_dir() if self._directory is None else self._directory
        _keep_compiled_programs(root)
        path = fetch(self._source, progress, directory=root)
        with GGUFFile(path) as file:
            config = read_config(file)
            tokenizer = Tokenizer(file)
            template = ChatTemplate(file.get("tokenizer.chat_template", str), tokenizer)
            found = model_id(
                weights_sha256=self._source.gguf_sha256,
                tokenizer_digest=tokenizer.digest,
                template_digest=template.digest,
                context_length=config.context_length,
                licence=self._source.licence,
            )
            if found != self._source.model_id:
                raise ModelIntegrityError(
                    f"{path} gives model id {found.hex()}, expected {self._source.model_id.hex()}: "
                    "this release of cocoon pins another model; install the matching release"
                )
            weights = jax.tree.map(jnp.asarray, read_weights(file, config, progress))
        loaded = _Loaded(config, weights, tokenizer, template)
        _compile(loaded, progress)
        return loaded


def _compile(loaded: _Loaded, progress: ProgressCallback) -> None:
    """Runs a prompt and a step, so that the programs of short answers exist before a request waits for them."""
    progress(Progress("compile", 0, 2))
    session = Session(loaded.config, loaded.weights)
    logits = session.prefill([loaded.tokenizer.eos])
    token = choose(logits, session.position, GREEDY)
    progress(Progress("compile", 1, 2))
    session.step(token).block_until_ready()
    progress(Progress("compile", 2, 2))


def _keep_compiled_programs(root: Path) -> None:
    """Turns on JAX's persistent compilation cache, unless the user chose a place (`JAX_COMPILATION_CACHE_DIR`).

    One folder per processor model: compiled programs use its instructions, and a home directory may be shared.
    """
    if jax.config.jax_compilation_cache_dir is None:
        folder = root / "compiled" / f"jax-{jax.__version__}-{_processor()}"
        settings = {
            "jax_compilation_cache_dir": str(folder),
            "jax_persistent_cache_min_compile_time_secs": 0.0,
            "jax_persistent_cache_min_entry_size_bytes": -1,
        }
        for name, value in settings.items():
            jax.config.update(name, value)  # type: ignore[no-untyped-call]


def _processor() -> str:
    """A short name for the machine's instruction set."""
    about = platform.machine()
    features = Path("/proc/cpuinfo")
    if features.is_file():
        lines = features.read_text(errors="replace").splitlines()
        about += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(about.encode()).hexdigest()[:12]
