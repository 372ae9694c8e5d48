"""The lite-server protocol over ADNL-TCP: TON's own client API, answered from real blocks with real proofs."""
