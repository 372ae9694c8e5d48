"""Kernel bundles: content-addressed models anyone can publish. See docs/kernels.md for the format."""
