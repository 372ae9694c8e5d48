"""Cocoon off chain: codec, crypto, chain access, agent, client and kernels."""
