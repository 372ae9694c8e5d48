"""Measurements of the protocol, printed against a named peer."""
