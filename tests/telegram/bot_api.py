"""A stand-in for Telegram's Bot API: it speaks HTTP as the real one does, remembers every call, and keeps its rules."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "123456789:AAHfiqksKZ8WmR2zSjiQ7_v4TVMlGp4mJcM"
_MOST_UNITS = 4096


@dataclass(frozen=True)
class Call:
    """at: when it came; until: when it was answered (monotonic)."""

    method: str
    fields: dict[str, str]
    files: dict[str, bytes]
    at: float
    until: float
    error: str | None


class ApiFailure(Exception):
    """What a call is answered with."""

    def __init__(self, status: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.status, self.description, self.parameters = status, description, parameters


@dataclass
class BotApi:
    """messages: chat -> message number -> text it shows. fail: method -> failures that its next calls get."""

    base_url: str = ""
    calls: list[Call] = field(default_factory=list)
    messages: dict[int, dict[int, str]] = field(default_factory=dict)
    fail: dict[str, deque[ApiFailure]] = field(default_factory=dict)
    blocked: set[int] = field(default_factory=set)
    updates: list[dict[str, Any]] = field(default_factory=list)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    # ---- what a test does and sees ----

    def write(self, chat: int, text: str | None, *, user: int | None = None, kind: str = "private") -> int:
        """Somebody writes to the bot; None: a picture. user: the chat's own, as in private chats."""
        number = next(self._numbers)
        user = chat if user is None else user
        message: dict[str, Any] = {
            "message_id": number, "date": int(time.time()), "chat": {"id": chat, "type": kind},
            "from": {"id": user, "is_bot": False, "first_name": "U"},
        }  # fmt: skip
        if text is None:
            message["photo"] = [{"file_id": "f", "file_unique_id": "u", "width": 1, "height": 1}]
        else:
            message["text"] = text
        self.deliver(message)
        return number

    def deliver(self, message: dict[str, Any]) -> None:
        self.updates.append({"update_id": next(self._numbers), "message": message})
        self._tell()

    def shown(self, chat: int) -> list[str]:
        """The bot's messages in this chat, oldest first, as they look now."""
        return list(self.messages.get(chat, {}).values())

    def named(self, *methods: str, chat: int | None = None) -> list[Call]:
        return [
            call for call in self.calls
            if call.method in methods and chat in (None, int(call.fields.get("chat_id", 0)))
        ]  # fmt: skip

    def fail_next(self, method: str, *failures: ApiFailure) -> None:
        self.fail.setdefault(method, deque()).extend(failures)

    async def until(self, holds: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until a call made it so."""
        async with asyncio.timeout(seconds):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    # ---- HTTP ----

    async def handle(self, request: web.Request) -> web.Response:
        method, began = request.match_info["method"], time.monotonic()
        if request.method != "POST" or request.match_info["token"] != TOKEN:
            return _answer(401, description="Unauthorized")
        fields, files = dict[str, str](), dict[str, bytes]()
        for name, value in (await request.post()).items():
            if isinstance(value, web.FileField):
                files[value.filename] = value.file.read()
            else:
                fields[name] = str(value)
        error: ApiFailure | None = None
        result: Any = None
        try:
            if waiting := self.fail.get(method):
                raise waiting.popleft()
            known = {
                "getMe": self._me, "setMyCommands": self._commands, "getUpdates": self._get_updates,
                "sendMessage": self._send, "editMessageText": self._edit, "sendChatAction": self._action,
                "sendDocument": self._document,
            }  # fmt: skip
            if method not in known:
                raise ApiFailure(404, "Not Found")
            found = known[method](fields)
            result = await found if asyncio.iscoroutine(found) else found
        except ApiFailure as failure:
            error = failure
        self.calls.append(
            Call(method, fields, files, began, time.monotonic(), None if error is None else error.description)
        )
        self._tell()
        if error is not None:
            return _answer(error.status, description=error.description, parameters=error.parameters)
        return _answer(200, result=result)

    def _me(self, fields: dict[str, str]) -> dict[str, Any]:
        return {"id": int(TOKEN.split(":")[0]), "is_bot": True, "first_name": "Cocoon", "username": "cocoon_bot"}

    def _commands(self, fields: dict[str, str]) -> bool:
        return isinstance(json.loads(fields["commands"]), list)

    async def _get_updates(self, fields: dict[str, str]) -> list[dict[str, Any]]:
        """Long polling. A greater offset confirms the updates before it."""
        offset = int(fields.get("offset", 0))
        self.updates = [update for update in self.updates if update["update_id"] >= offset]
        try:
            async with asyncio.timeout(float(fields.get("timeout", 0))):
                while not self.updates:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return []
        return list(self.updates)

    def _send(self, fields: dict[str, str]) -> dict[str, Any]:
        chat, text = self._open_chat(fields), _text(fields)
        number = next(self._numbers)
        self.messages.setdefault(chat, {})[number] = text
        return self._message(chat, number, text)

    def _edit(self, fields: dict[str, str]) -> dict[str, Any]:
        chat, text, number = self._open_chat(fields), _text(fields), int(fields["message_id"])
        if number not in self.messages.get(chat, {}):
            raise ApiFailure(400, "Bad Request: message to edit not found")
        if self.messages[chat][number] == text:
            raise ApiFailure(
                400, "Bad Request: message is not modified: specified new message content and reply markup are "
                "exactly the same as a current content and reply markup of the message",
            )  # fmt: skip
        self.messages[chat][number] = text
        return self._message(chat, number, text)

    def _action(self, fields: dict[str, str]) -> bool:
        self._open_chat(fields)
        return fields["action"] == "typing"

    def _document(self, fields: dict[str, str]) -> dict[str, Any]:
        return self._message(self._open_chat(fields), next(self._numbers), None)

    def _open_chat(self, fields: dict[str, str]) -> int:
        chat = int(fields["chat_id"])
        if chat in self.blocked:
            raise ApiFailure(403, "Forbidden: bot was blocked by the user")
        return chat

    def _message(self, chat: int, number: int, text: str | None) -> dict[str, Any]:
        found: dict[str, Any] = {
            "message_id": number,
            "date": int(time.time()),
            "chat": {"id": chat, "type": "private"},
        }
        return found if text is None else {**found, "text": text}

    def _tell(self) -> None:
        self._changed.set()


def _text(fields: dict[str, str]) -> str:
    """As Telegram keeps it. It counts UTF-16 code units."""
    text = fields.get("text", "").strip()
    if not text:
        raise ApiFailure(400, "Bad Request: message text is empty")
    if len(text.encode("utf-16-le")) // 2 > _MOST_UNITS:
        raise ApiFailure(400, "Bad Request: message is too long")
    return text


def _answer(status: int, **body: Any) -> web.Response:
    parameters = body.pop("parameters", None)
    document = {"ok": status == 200, **body}
    if status != 200:
        document["error_code"] = status
    if parameters:
        document["parameters"] = parameters
    return web.json_response(document, status=status)


@asynccontextmanager
async def bot_api() -> AsyncIterator[BotApi]:
    """Served on this machine for the time of the context."""
    api = BotApi()
    app = web.Application()
    app.router.add_route("*", "/bot{token}/{method}", api.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        api.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield api
    finally:
        await runner.cleanup()
