"""Uses everything once that loads modules, or asks the system something, when it is first used.

Afterwards the process gives up its rights, and could do neither any more.
"""

from __future__ import annotations

import codecs
import contextlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import serialize_executable
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..builders.export import export_program, specs
from ..bundle.audit import audit
from ..bundle.limits import Limits
from ..bundle.manifest import Tensor
from ..processor import processor

__all__ = ["warm_up"]


def warm_up() -> None:
    processor()
    _programs()
    _products()
    if jax.local_device_count() > 1:
        _several_devices()
    _templates()


def _programs() -> None:
    tensor = (Tensor("x", "f32", (4, 4)),)
    made = export_program(lambda x: (jnp.tanh(x @ x),), specs(tensor))
    exported = audit(made.data, tensor, tensor, Limits(), "warm-up")
    compiled = jax.jit(exported.call, donate_argnums=(0,)).lower(*specs(tensor)).compile()
    again = _kept(compiled, jax.local_devices()[:1])
    np.asarray(again(jnp.asarray(np.array(np.ones((4, 4), np.float32))))[0])


def _products() -> None:
    """The compiler's matrix library looks at the processor when it first meets a product worth its while."""
    contract = (((1,), (1,)), ((), ()))
    for dtype, result in ((jnp.float32, jnp.float32), (jnp.bfloat16, jnp.float32), (jnp.int8, jnp.int32)):
        rows, weight = jnp.ones((4, 64), dtype), jnp.ones((64, 64), dtype)
        np.asarray(
            jax.jit(partial(lax.dot_general, dimension_numbers=contract, preferred_element_type=result))(rows, weight)
        )


def _several_devices() -> None:
    """Arrays laid out over all devices, in both ways the engine does it, and a sum between them."""
    devices = jax.local_devices()
    mesh = Mesh(np.array(devices), ("parts",))
    split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("parts",), ()))  # type: ignore[no-untyped-call]
    shape = (len(devices), 4)
    placed = jax.device_put(np.ones(shape, np.float32), split)
    zeros = jax.make_array_from_callback(shape, split, lambda index: np.zeros((1, 4), np.float32))
    add = jax.jit(lambda x, y: jnp.sum(x + y, axis=0), in_shardings=(split, split), out_shardings=whole)
    compiled = add.lower(placed, zeros).compile()
    np.asarray(_kept(compiled, devices)(placed, zeros))
    np.asarray(compiled(placed, zeros))


def _templates() -> None:
    for codec in ("ascii", "utf-8", "latin-1", "unicode-escape", "raw-unicode-escape"):
        codecs.lookup(codec)
    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    for text in (
        "{% for x in y %}{{ x | upper | trim | tojson }}{% break %}{% endfor %}{{ 'a' ~ 1.5 }}",
        "{{ 1 / 0 }}",
    ):
        with contextlib.suppress(ZeroDivisionError):
            environment.from_string(text).render(y=["\u00e9", 2])


def _kept(compiled: Any, devices: list[Any]) -> Any:
    """As it comes out of the cache. Unless it is told its devices, it would expect to run on all there are."""
    data, in_tree, out_tree = serialize_executable.serialize(compiled)
    return serialize_executable.deserialize_and_load(data, in_tree, out_tree, execution_devices=devices)
