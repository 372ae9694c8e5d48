"""What proves what: promises, invariants and attacks, the code that keeps them, the tests that would notice.

Tests name what they prove by id in their docstrings (`P-2`, `E-1`, `A.8`); everything else is derived from that.
"""
