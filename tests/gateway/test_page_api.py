"""The JSON behind the page: what is public, what is the owner's, and who may not ask."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession
from scripted import NAME, served

PRIVATE = ("/api/channels", "/api/requests", "/metrics")
CHAT = {"model": NAME, "messages": [{"role": "user", "content": "a b"}]}


async def test_page_files_have_a_strict_policy_and_name_nothing_outside() -> None:
    async with served() as gateway, ClientSession() as session:
        async with session.get(gateway.root + "/") as answer:
            policy = answer.headers["Content-Security-Policy"]
            text = await answer.text()
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Cocoon-Simulated-TEE"] == "nothing is confidential"
        assert "http://" not in text
        assert "https://" not in text
        for path in ("main.js", "dom.js", "base.css", "parts.css", "mark.svg"):
            async with session.get(f"{gateway.root}/page/{path}") as answer:
                assert answer.status == 200, path
        for path in ("/page/../server.py", "/page/%2e%2e/server.py", "/page/server.py"):
            async with session.get(gateway.root + path) as answer:
                assert answer.status == 404


async def test_public_facts_need_no_key_and_the_owners_affairs_do() -> None:
    async with served() as gateway, ClientSession() as session:
        for path in ("/api/network", "/api/workers", "/api/flows", "/health"):
            async with session.get(gateway.root + path) as answer:
                assert answer.status == 200, path
        for path in PRIVATE:
            async with session.get(gateway.root + path) as answer:
                assert answer.status == 401, path
            async with session.get(gateway.root + path, headers={"Authorization": f"Bearer {gateway.key}"}) as answer:
                assert answer.status == 200, path
        async with session.post(gateway.root + "/api/chat", json=CHAT) as answer:
            assert answer.status == 401
        assert gateway.backend.bodies == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"},
        {"Host": "evil.example"}, {"Origin": "null"}, {"Host": "[::1"},
    ],
)  # fmt: skip
async def test_page_with_its_own_key_serves_no_other_site(headers: dict[str, str]) -> None:
    """A strange page, or a strange name for this machine, can't spend the owner's money or read its affairs."""
    async with served(page_key="team") as gateway, ClientSession() as session:
        for path in PRIVATE:
            async with session.get(gateway.root + path) as answer:
                assert answer.status == 200, path
            async with session.get(gateway.root + path, headers=headers) as answer:
                assert answer.status == 403, path
        async with session.post(gateway.root + "/api/chat", json=CHAT, headers=headers) as answer:
            assert answer.status == 403
        assert gateway.backend.bodies == []
        async with session.post(f"{gateway.base_url}/chat/completions", json=CHAT) as answer:
            assert answer.status == 401  # the page's key is the page's only


async def test_page_key_that_was_revoked_is_refused() -> None:
    async with served(page_key="team") as gateway, ClientSession() as session:
        gateway.context.keys.revoke("team")
        async with session.post(gateway.root + "/api/chat", json=CHAT) as answer:
            assert answer.status == 401


async def test_requests_show_numbers_and_no_words() -> None:
    async with served(page_key="team") as gateway, ClientSession() as session:
        asked = {**CHAT, "messages": [{"role": "user", "content": "secret words"}]}
        async with session.post(gateway.root + "/api/chat", json=asked) as answer:
            assert answer.status == 200
        async with session.get(gateway.root + "/api/requests") as answer:
            text = await answer.text()
            (entry,) = (await answer.json())["ended"]
        assert "secret" not in text
        assert (entry["state"], entry["tokens"], entry["worker"], entry["key"]) == ("done", 2, 3, "team")
        async with session.get(f"{gateway.root}/api/proof/{entry['receipts'][0]}") as answer:
            proof = await answer.json()
        assert proof["holds"] is True
        async with session.get(gateway.root + "/metrics") as answer:
            metrics = await answer.text()
        assert 'cocoon_gateway_tokens_total{kind="completion"} 2.0' in metrics
        assert "secret" not in metrics


async def test_health_without_fresh_facts_is_503() -> None:
    async with served() as gateway, ClientSession() as session:
        gateway.page.age = None
        async with session.get(gateway.root + "/health") as answer:
            assert (answer.status, (await answer.json())["status"]) == (503, "network unreachable")
