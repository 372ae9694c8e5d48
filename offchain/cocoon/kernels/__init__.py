"""Kernels: the units of compute a worker runs. Today one language model in JAX; see `cocoon.kernels.engine`."""
