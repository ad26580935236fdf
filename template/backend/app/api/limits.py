"""Ends a request that is too large, or whose client has left."""

import asyncio

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Of up to 64 kB each, read ahead while nobody asks for them.
MESSAGES = 16


class RequestLimits:
    """Middleware that cancels: psycopg then cancels the query, and the transaction is rolled back."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        too_large = JSONResponse(
            {"detail": f"The request's body may have {self.max_body_bytes} bytes."}, 413
        )
        if int(Headers(scope=scope).get("content-length", 0)) > self.max_body_bytes:
            return await too_large(scope, receive, send)

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
            request.reschedule(0)

        async def send_on(message: Message) -> None:
            nonlocal has_started
            has_started = True
            if message["type"] == "http.response.body" and not message.get("more_body"):
                # From now on the server says that the client has left; background tasks go on.
                reader.cancel()
            await send(message)

        try:
            # A timeout that only read_ahead() sets.
            async with asyncio.timeout(None) as request:
                reader = asyncio.create_task(read_ahead())
                try:
                    await self.app(scope, messages.get, send_on)
                finally:
                    reader.cancel()
        except TimeoutError:
            if not request.expired():
                raise
            if not has_left and not has_started:
                await too_large(scope, receive, send)
