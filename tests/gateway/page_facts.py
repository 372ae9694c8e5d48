"""What a busy network looks like to the page: several kinds of workers, one of which is hostile."""

from __future__ import annotations

from typing import Any

from scripted import MODEL, NAME, TON

__all__ = ["HOSTILE", "channels", "flows", "workers"]

HOSTILE = "wss://x.example/<img src=x onerror=document.title='owned'>\u202e\x00<script>document.title='owned'</script>"


def workers() -> list[dict[str, Any]]:
    return [
        _worker(0, ttft_sec=0.21, answers=412, load=2),
        _worker(1, stake=80, jobs=930, ttft_sec=0.34, answers=77, measurement_state="unlisted"),
        _worker(2, stake=12, status="paused", misses=9, jobs=40, reputation=0.526, left_out="it is paused"),
        _worker(3, stake=10, endpoint=HOSTILE, name=HOSTILE, status=HOSTILE[:30], left_out=HOSTILE),
    ]


def _worker(index: int, **said: Any) -> dict[str, Any]:
    address = f"0:{index:02x}" + "5a" * 31
    return {
        "index": index, "address": address, "owner": address, "status": said.get("status", "active"),
        "stake_nano": str(said.get("stake", 50) * TON), "bond_nano": str(2 * TON), "measurement": "9e" * 32,
        "measurement_state": said.get("measurement_state", "listed"), "lease_end": 1_800_400_000,
        "key_epoch": 1, "tcb_date": 1_790_000_000,
        "reported": said.get("reported", False),
        "jobs": said.get("jobs", 120), "misses": said.get("misses", 0), "rejections": 1, "key_losses": 0,
        "volume_nano": "8123456789", "reputation": said.get("reputation", 1.0),
        "endpoint": said.get("endpoint", f"wss://gpu{index}.example:9443"), "load": said.get("load", 0),
        "ttft_sec": said.get("ttft_sec"), "answers": said.get("answers", 0), "failures": 0,
        "models": [
            {
                "model_id": MODEL, "name": said.get("name", NAME), "left_out": said.get("left_out"),
                "terms": {"prompt_nano": "1000000000", "cached_nano": "250000000", "completion_nano": "4000000000",
                          "floor_fee_nano": "1000", "min_duration_sec": "60"},
            }
        ],
    }  # fmt: skip


def channels() -> list[dict[str, Any]]:
    return [
        {
            "escrow": f"0:{index:02x}" + "c4" * 31, "worker": index, "model_id": MODEL, "deposit_nano": str(TON // 2),
            "claimed_nano": "120000000", "available_nano": "310000000", "reserved_nano": "20000000", "streams": index,
            "connected": True, "state": "open", "ends": 1_800_500_000, "opened_by": "aa" * 32,
        }
        for index in range(2)
    ]  # fmt: skip


def flows() -> list[dict[str, Any]]:
    wallet, owner = ("this gateway's wallet", "0:" + "03" * 32), (None, "0:" + "44" * 32)
    moved = [
        (wallet, ("channel to worker 0", "0:c0"), 520_000_000, "OpenEscrow"),
        (wallet, ("channel to worker 1", "0:c1"), 520_000_000, "OpenEscrow"),
        (("channel to worker 0", "0:c0"), owner, 120_000_000, "Cocoon earnings"),
        (("channel to worker 1", "0:c1"), owner, 64_000_000, "Cocoon earnings"),
        (("worker 2", "0:w2"), ("burned", "0:00"), 800_000_000, "Cocoon burn"),
        (owner, ("Registry", "0:01"), 12_100_000_000, "RegisterWorker"),
        (("Registry", "0:01"), ("worker 3", "0:w3"), 12_000_000_000, HOSTILE),
    ]
    return [
        {
            "lt": str(number), "time": 1_800_000_000 - 7 * number, "transaction": f"{number:02x}" * 32,
            "from": {"name": source[0], "address": source[1]}, "to": {"name": to[0], "address": to[1]},
            "nano": str(nano), "what": what, "failed": number == 4,
        }
        for number, (source, to, nano, what) in enumerate(moved)
    ]  # fmt: skip
