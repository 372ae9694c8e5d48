"""Where a worker says it listens: hostile text until shown to be an address and nothing else."""

from __future__ import annotations

import ipaddress
import re

__all__ = ["usable_endpoint"]

_MOST_CHARS = 200
_ADDRESS = re.compile(r"(https?)://(\[[0-9a-f:.]{2,45}\]|[a-z0-9.-]{1,180}):([1-9][0-9]{0,4})", re.ASCII)
_LABEL = re.compile("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_PORTS = 1 << 16
_OWN_NAMES = ("localhost", "local", "internal", "home.arpa")


def usable_endpoint(announced: str | None, *, private: bool) -> str | None:
    """`announced` if it is http(s)://host:port in small letters, with no path, user or password; else None.

    private: whether it may be an address of this machine or of a private network, by number or by name. Otherwise any
    worker could have the gateway knock at its owner's own doors.
    """
    if announced is None or len(announced) > _MOST_CHARS:
        return None
    found = _ADDRESS.fullmatch(announced)
    if found is None or int(found[3]) >= _PORTS:
        return None
    host = found[2]
    try:
        number = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return announced if _is_name(host) and (private or _is_public_name(host)) else None
    if host.startswith("[") != (number.version == 6):
        return None
    return announced if private or (number.is_global and not number.is_multicast) else None


def _is_name(host: str) -> bool:
    labels = host.split(".")
    # a last label of digits would be read as a number by some resolvers: 127.1, 2130706433
    return all(_LABEL.fullmatch(label) for label in labels) and not labels[-1][0].isdigit()


def _is_public_name(host: str) -> bool:
    return "." in host and not any(host == name or host.endswith("." + name) for name in _OWN_NAMES)
