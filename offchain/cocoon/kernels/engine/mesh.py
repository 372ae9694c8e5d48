"""Where the arrays of a build are: on one device, or in parts on several, of this host or of several hosts.

The program is the same on any number of devices. Only its arguments are laid out differently, and the compiler makes
what goes between devices out of that. So there is one kind of build for all hosts, and nothing in a bundle says how
devices talk to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..bundle.loader import Bundle, parts_of
from ..bundle.manifest import Build, Tensor
from ..bundle.safetensors import NUMPY
from ..errors import BundleInvalid

__all__ = ["Placement"]

_AXIS = "parts"


class Placement:
    """devices: those that take part, across all hosts; local: how many of them this process has."""

    def __init__(self, bundle: Bundle, build: Build, devices: Sequence[Any] | None = None) -> None:
        """devices: None takes as many of all there are as the build's parts can be shared among evenly.

        Raises BundleInvalid if they can't.
        """
        parts, found = parts_of(bundle, build), list(jax.devices() if devices is None else devices)
        if devices is None and jax.process_count() == 1:
            found = found[: max(n for n in range(1, len(found) + 1) if parts % n == 0)]
        if parts % len(found):
            raise BundleInvalid(f"this build has {parts} parts, which {len(found)} devices can't share evenly")
        self.devices = found
        self.local: int = sum(device.process_index == jax.process_index() for device in found)
        self._split = frozenset(build.split)
        self._mesh = None if found == jax.local_devices()[:1] else Mesh(np.array(found), (_AXIS,))

    @property
    def laid_out(self) -> bool:
        """Whether arrays have to be told where they belong: on the only device, or the first, they needn't."""
        return self._mesh is not None

    def sharding(self, name: str | None) -> NamedSharding | None:
        """Of an array of the build; name None: inputs and outputs, which every device has. None: where arrays are."""
        if self._mesh is None:
            return None
        axes = (_AXIS,) if name in self._split else ()
        return NamedSharding(self._mesh, PartitionSpec(*axes))  # type: ignore[no-untyped-call]

    def place(self, name: str, array: Any) -> Any:
        """A parameter where it belongs."""
        sharding = self.sharding(name)
        if sharding is None:
            return jnp.asarray(array)
        if jax.process_count() == 1:
            return jax.device_put(array, sharding)
        host = np.asarray(array)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    def zeros(self, tensor: Tensor) -> Any:
        sharding, dtype = self.sharding(tensor.name), NUMPY[tensor.dtype]
        if sharding is None:
            return jnp.zeros(tensor.shape, dtype)
        here = sharding.shard_shape(tensor.shape)

        def part(index: Any) -> npt.NDArray[Any]:
            return np.zeros(here, dtype)

        return jax.make_array_from_callback(tensor.shape, sharding, part)

    def bytes_each(self, tensor: Tensor) -> int:
        """What each device holds of it."""
        return tensor.size_bytes // (len(self.devices) if tensor.name in self._split else 1)
