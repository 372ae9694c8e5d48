"""Who may read what, and who said what: HPKE requests, sealed responses, signed statements."""
