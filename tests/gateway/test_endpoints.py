"""What a worker announces is an address, or it is nothing."""

from __future__ import annotations

import pytest

from cocoon.gateway.endpoints import usable_endpoint


@pytest.mark.parametrize(
    "text",
    [
        "https://worker.example:4242", "http://gpu-7.eu.worker.example:1", "https://8.8.8.8:65535",
        "http://[2606:4700:4700::1111]:8080", "https://xn--bcher-kva.example:443",
    ],
)  # fmt: skip
def test_announced_address_is_taken_as_it_stands(text: str) -> None:
    assert usable_endpoint(text, private=False) == text


@pytest.mark.parametrize(
    "text",
    [
        None, "", "worker.example:4242", "ftp://worker.example:21", "file:///etc/passwd", "javascript:alert(1)",
        "https://worker.example", "https://worker.example:0", "https://worker.example:65536", "https://:4242",
        "https://worker.example:04242", "https://user:pass@worker.example:4242", "https://worker.example:4242/",
        "https://worker.example:4242/path?x=1", "https://worker.example:4242#a", "https://a\\b.example:1",
        "https://worker.example:4242\n", " https://worker.example:4242", "https://WORKER.example:4242",
        "https://wörker.example:4242", "https://worker_x.example:4242", "https://-a.example:4242",
        "https://a..example:4242", "https://worker.example:\u0664\u0662", "https://[::1:80", "https://2130706433:80",
        "https://127.1:80", "https://[8.8.8.8]:80", "https://[worker.example]:80", "https://<img>.example:80",
        "https://" + "a." * 100 + "example:1", "https://" + "a" * 64 + ".example:1", "https://a%2eexample:80",
    ],
)  # fmt: skip
def test_announced_text_that_is_no_address_is_nothing(text: str | None) -> None:
    assert usable_endpoint(text, private=True) is None


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:80", "http://10.0.0.1:80", "http://192.168.1.1:80", "http://169.254.169.254:80",
        "http://[::1]:80", "http://[fe80::1]:80", "http://[::ffff:127.0.0.1]:80", "http://224.0.0.1:80",
        "http://0.0.0.0:80", "http://localhost:80", "http://a.localhost:80", "http://router:80",
        "http://metadata.google.internal:80", "http://printer.local:80",
    ],
)  # fmt: skip
def test_announced_address_of_the_gateways_own_surroundings_needs_the_owners_leave(text: str) -> None:
    assert usable_endpoint(text, private=False) is None
    assert usable_endpoint(text, private=True) == text
