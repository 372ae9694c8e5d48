"""The signer: a small process that holds the worker's keys and can't be made to sign one sequence number twice.

The keys and the table of what was signed live in the same memory and die together. The agent may crash, restart, or
find its disk rolled back; it asks again and gets the same bytes. Nothing here is ever written to disk.
"""
