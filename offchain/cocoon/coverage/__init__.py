"""Which instructions of the contracts' code the tests run, by the TVM's own log.

`recorder` collects places while tests run, `listing` names every instruction there is, `report` compares the two. See
docs/mutation.md.
"""
