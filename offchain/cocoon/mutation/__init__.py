"""Mutation testing of the contracts: small faults are put into the Tolk sources, and a test has to notice each.

`mutants` makes the faults, `compiling` turns one into code (or finds that it changes none), `places` says which
instructions it touches, `suite` runs the tests that execute those, `campaign` does it for all of them on several
processes and keeps a journal. See docs/mutation.md.
"""
