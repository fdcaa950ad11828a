"""ASGI middleware that turns requests away before anything reads them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class LimitBody:
    """Refuse a request whose body has more bytes than allowed, whether or not it says so beforehand.

    The rest of such a body is read and dropped, within reason: a client that is still sending would not see the answer.

    Args:
        app: the application behind it.
        limit: bytes.
    """

    def __init__(self, app: Any, limit: int):
        self.app, self.limit = app, limit

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        message = f"the upload is larger than the {self.limit / 2**20:.3g} MiB allowed here"
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
    """Refuse what another web site makes the visitor's browser send here.

    A page on this computer is within reach of every site that its user visits. Browsers name the site in ``Origin``;
    and a site that gives its own name this computer's address is known by ``Host``.

    Args:
        app: the application behind it.
        local: only accept names of this computer as ``Host``.
    """

    def __init__(self, app: Any, local: bool):
        self.app, self.local = app, local

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request."""
        if scope["type"] == "http" and not self._trusted(scope):
            answer = JSONResponse({"detail": "this request comes from another site"}, 403)
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
