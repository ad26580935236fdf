"""Ends a request that is too large or takes too long, or whose client has left."""

import asyncio

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import try_again_later

# Of up to 64 kB each, read ahead while nobody asks for them.
MESSAGES = 16


class RequestLimits:
    """Middleware that cancels: psycopg then cancels the query, and the transaction is rolled back.

    The time ends with the beginning of the response: a stream may take longer.
    """

    def __init__(self, app: ASGIApp, timeout_s: float, max_body_bytes: int) -> None:
        self.app = app
        self.timeout_s = timeout_s
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if int(Headers(scope=scope).get("content-length", 0)) > self.max_body_bytes:
            return await self._too_large()(scope, receive, send)

        messages: asyncio.Queue[Message] = asyncio.Queue(MESSAGES)
        body_bytes = 0
        has_left = has_started = False

        async def read_ahead() -> None:
            nonlocal body_bytes, has_left
            while not has_left and body_bytes <= self.max_body_bytes:
                message = await receive()
                has_left = message["type"] == "http.disconnect"
                body_bytes += len(message.get("body", b""))
                await messages.put(message)
            end_by(0)

        async def send_on(message: Message) -> None:
            nonlocal has_started
            if not has_started:
                end_by(None)
            has_started = True
            if message["type"] == "http.response.body" and not message.get("more_body"):
                # From now on the server says that the client has left; background tasks go on.
                reader.cancel()
            await send(message)

        def end_by(when: float | None) -> None:
            if not deadline.expired():
                deadline.reschedule(when)

        try:
            async with asyncio.timeout(self.timeout_s) as deadline:
                reader = asyncio.create_task(read_ahead())
                try:
                    await self.app(scope, messages.get, send_on)
                finally:
                    reader.cancel()
        except TimeoutError:
            if not deadline.expired():
                raise
            if has_left or has_started:
                return
            if body_bytes > self.max_body_bytes:
                return await self._too_large()(scope, receive, send)
            reason = f"not done after {self.timeout_s} s"
            await try_again_later(Request(scope), reason)(scope, receive, send)

    def _too_large(self) -> JSONResponse:
        detail = f"The request's body may have {self.max_body_bytes} bytes."
        return JSONResponse({"detail": detail}, status_code=413)
