"""Blocks: from executed transactions to signed masterchain and basechain blocks."""
