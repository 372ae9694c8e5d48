"""The gateway: an OpenAI-compatible server in front of the market, with keys, budgets, receipts and a page."""
