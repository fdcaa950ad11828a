"""End requests of clients that send, or read, too slowly, or send endless headers: a few hundred of them would occupy every connection."""

from __future__ import annotations

import math
from typing import Any

import anyio
from starlette.responses import JSONResponse

MAX_HEAD = 128 * 1024
"""Bytes of a request's line and headers, or of what follows its body: uvicorn's faster parser keeps any number."""
RATE = 32 * 1024
"""Bytes per second that a body must arrive with, on average, after the first seconds."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Patience:
    """ASGI middleware: a request body must arrive in time, and an answer be read in time.

    Args:
        app: the wrapped application.
        seconds: to begin with; every 32 KiB received give another second. A part of an answer that is not read within
            this time ends the connection.
    """

    def __init__(self, app: Any, seconds: float):
        self.app, self.seconds = app, seconds

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        whole, started = False, False
        # One scope whose deadline moves: a limit of its own for every part takes a tenth of a small request's time.
        with anyio.CancelScope(deadline=anyio.current_time() + self.seconds) as limit:

            async def patiently() -> Any:
                nonlocal whole
                event = await receive()
                if not whole:  # what follows is only the end of the connection
                    whole = not event.get("more_body")
                    limit.deadline = math.inf if whole else limit.deadline + len(event.get("body", b"")) / RATE
                return event

            async def timed(event: Any) -> None:
                nonlocal started
                started = True
                before, limit.deadline = limit.deadline, anyio.current_time() + self.seconds
                await send(event)
                limit.deadline = before

            await self.app(scope, patiently, timed)
        if limit.cancelled_caught and not started:  # of an incomplete answer, the server closes the connection
            detail = "the request took too long to arrive"
            await JSONResponse({"detail": detail}, 408, {"Connection": "close"})(scope, receive, send)


def impatient(protocol: type[Any], seconds: float) -> type[Any]:
    """Return uvicorn's HTTP protocol with limits on the time and bytes of the lines and headers of a request, which it does not have.

    Args:
        protocol: a class of ``uvicorn.protocols.http``.
        seconds: a connection that has not begun a request for so long is closed.
    """

    counts = hasattr(protocol, "on_headers_complete")  # the other protocol has a limit of its own

    class Impatient(protocol):  # type: ignore[misc]
        _head = 0  # bytes received since a head was complete or a part of a body came

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch = self.loop.call_later(seconds, self._look, None)

        def connection_lost(self, exc: Any) -> None:
            self._watch.cancel()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            self._head += len(data)
            super().data_received(data)
            if counts and self._head > MAX_HEAD and not self.transport.is_closing():
                if self.cycle is None or self.cycle.response_complete:
                    self.transport.write(_TOO_LARGE)
                self.transport.close()

        def on_headers_complete(self) -> None:
            self._head = 0
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._head = 0
            super().on_body(body)

        def _look(self, before: Any) -> None:
            cycle = self.cycle
            if cycle is before and (cycle is None or cycle.response_complete):
                self.transport.close()
            else:
                self._watch = self.loop.call_later(seconds, self._look, cycle)

    return Impatient
