"""The fast path: answers that stream over a channel while vouchers flow the other way.

Two parties meet who trust each other with one quantum of money. The client keeps its vouchers at most a quantum ahead
of what it has verified (`payer`), the worker its work at most a quantum ahead of the vouchers it holds (`payee`); both
count over the life of the channel, whatever connections and streams come and go.
"""
