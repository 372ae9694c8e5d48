"""How the rest of Cocoon sees a TON network: proven account state, hash-chained transactions, external messages."""

from .base import AccountState, Chain, ChainMessage, ChainTransaction
from .lite import LiteChain
from .trace import trace
from .wallet import Transfer, Wallet

__all__ = ["AccountState", "Chain", "ChainMessage", "ChainTransaction", "LiteChain", "Transfer", "Wallet", "trace"]
