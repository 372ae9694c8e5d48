"""Every cell the contracts read or write, as frozen dataclasses with one codec both ways.

`contracts/scheme.tlb` says the same for every other language.
"""
