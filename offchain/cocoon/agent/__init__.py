"""The agent: watches the chain for jobs, has them computed, signed and delivered, and gets its worker paid.

    seen -> accepted -> answered | refusing -> signed -> sent -> settled

Every arrow is journaled before anything that depends on it leaves the process; see `journal`.
"""
