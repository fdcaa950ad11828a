"""ASGI middleware that rejects oversized and cross-site requests before they are read."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class LimitBody:
    """Reject a request whose body exceeds the limit, with or without a Content-Length header.

    The rest of the body is read and discarded, up to 8 times the limit: a client that is still sending would not see
    the response.

    Args:
        app: the wrapped application.
        limit: bytes.
    """

    def __init__(self, app: Any, limit: int):
        self.app, self.limit = app, limit

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        message = f"the upload is larger than the limit of {self.limit / 2**20:.3g} MiB"
        announced = _header(scope, b"content-length")
        if announced.isdigit() and int(announced) > self.limit:
            await self._drop_rest(receive)
            return await JSONResponse({"detail": message}, 413)(scope, receive, send)
        received = 0

        async def counted() -> Any:
            nonlocal received
            event = await receive()
            received += len(event.get("body", b""))
            if received > self.limit:
                if event.get("more_body"):
                    await self._drop_rest(receive)
                raise HTTPException(413, message)
            return event

        return await self.app(scope, counted, send)

    async def _drop_rest(self, receive: Any) -> None:
        dropped = 0
        while dropped < 8 * self.limit:
            event = await receive()
            dropped += len(event.get("body", b""))
            if not event.get("more_body"):
                return


class SameOrigin:
    """Reject requests that another web site makes the user's browser send (CSRF, DNS rebinding).

    Browsers name the requesting site in ``Origin``; a foreign host name that resolves to this computer shows in
    ``Host``.

    Args:
        app: the wrapped application.
        local: accept only loopback names as ``Host``.
    """

    def __init__(self, app: Any, local: bool):
        self.app, self.local = app, local

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request."""
        if scope["type"] == "http" and not self._trusted(scope):
            answer = JSONResponse({"detail": "cross-site request rejected"}, 403)
            return await answer(scope, receive, send)
        return await self.app(scope, receive, send)

    def _trusted(self, scope: Any) -> bool:
        host, origin = _header(scope, b"host"), _header(scope, b"origin")
        try:
            if self.local and urlsplit(f"//{host}").hostname not in LOOPBACK:
                return False
            return not origin or urlsplit(origin).netloc == host
        except ValueError:
            return False


def _header(scope: Any, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
