"""The global configuration file: where a client finds a lite server, and which blocks it may trust."""

from __future__ import annotations

import base64
import ipaddress
from typing import Any

from cocoon_sandbox.tlb.ids import FULL_SHARD, BlockId

__all__ = ["global_config"]


def global_config(host: str, port: int, public_key: bytes, zerostate: BlockId, first: BlockId) -> dict[str, Any]:
    """The configuration of a network with one lite server at an IPv4 address; `first` is the first key block."""
    address = int(ipaddress.IPv4Address(host))
    return {
        "@type": "config.global",
        "dht": {"@type": "dht.config.global", "k": 3, "a": 3, "static_nodes": {"@type": "dht.nodes", "nodes": []}},
        "liteservers": [
            {
                "ip": address - (1 << 32) if address >> 31 else address,
                "port": port,
                "id": {"@type": "pub.ed25519", "key": base64.b64encode(public_key).decode()},
            }
        ],
        "validator": {
            "@type": "validator.config.global",
            "zero_state": _block(zerostate),
            "init_block": _block(first),
            "hardforks": [],
        },
    }


def _block(block: BlockId) -> dict[str, Any]:
    return {
        "workchain": block.workchain,
        "shard": FULL_SHARD - (1 << 64),
        "seqno": block.seqno,
        "root_hash": base64.b64encode(block.root_hash).decode(),
        "file_hash": base64.b64encode(block.file_hash).decode(),
    }
