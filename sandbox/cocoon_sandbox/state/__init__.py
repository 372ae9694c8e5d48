"""Cells, dictionaries and Merkle structures: what the chain state is made of."""
