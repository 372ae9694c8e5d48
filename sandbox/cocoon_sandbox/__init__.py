"""A local TON network: official executor, real blocks, a lite server."""
