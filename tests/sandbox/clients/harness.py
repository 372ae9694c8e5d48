"""What the client programs share: where the sandbox is, its faucet, and the report they print.

The programs run in environments of their own, which have the client under test and nothing of this project.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

FRIEND = "0:" + "22" * 32
NANO = 10**9

with open(sys.argv[1], encoding="utf-8") as _file:
    PLACE: dict[str, Any] = json.load(_file)


def faucet(address: str, ton: int) -> None:
    """Have the sandbox give `ton` TON to `address`, and wait until they are there."""
    subprocess.run([*PLACE["cocoon"], "faucet", address, str(ton)], check=True, stdout=subprocess.DEVNULL)


def report(**found: Any) -> None:
    """Tell the test what the client saw."""
    print(json.dumps(found))


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 15.0) -> Any:
    """Ask again until the answer is a true one; TimeoutError when it isn't in time."""
    async with asyncio.timeout(seconds):
        while True:
            found = await condition()
            if found:
                return found
            await asyncio.sleep(0.1)
