"""ASGI middleware that rejects oversized and cross-site requests before they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class LimitBody:
    """Reject a request whose body exceeds its limit, with or without a Content-Length header.

    The rest of the body is read and discarded, up to 8 times the limit: a client that is still sending would not see
    the response.

    Args:
        app: the wrapped application.
        limit: bytes.
        larger: path → its own limit.
    """

    def __init__(self, app: Any, limit: int, larger: Mapping[str, int] | None = None):
        self.app, self.limit, self.larger = app, limit, larger or {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        limit = self.larger.get(scope["path"].removeprefix(scope.get("root_path", "")), self.limit)
        message = f"the upload is larger than the limit of {limit / 2**20:.3g} MiB"
        announced = _header(scope, b"content-length")
        if announced.isdigit() and len(announced) < 20 and int(announced) > limit:
            await self._drop_rest(receive, limit)
            return await JSONResponse({"detail": message}, 413)(scope, receive, send)
        received = 0

        async def counted() -> Any:
            nonlocal received
            event = await receive()
            received += len(event.get("body", b""))
            if received > limit:
                if event.get("more_body"):
                    await self._drop_rest(receive, limit)
                raise HTTPException(413, message)
            return event

        return await self.app(scope, counted, send)

    async def _drop_rest(self, receive: Any, limit: int) -> None:
        dropped = 0
        while dropped < 8 * limit:
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
        local: accept only loopback names as ``Host``, and these:
        hosts: names under which the page is reached through a proxy.
    """

    def __init__(self, app: Any, local: bool, hosts: Sequence[str] = ()):
        self.app, self.local, self.hosts = app, local, frozenset(name.lower() for name in hosts)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request."""
        if scope["type"] == "http" and not self._trusted(scope):
            detail = (
                "cross-site request rejected (behind a proxy: pass on the Host header, and name it with --public-host)"
            )
            answer = JSONResponse({"detail": detail}, 403)
            return await answer(scope, receive, send)
        return await self.app(scope, receive, send)

    def _trusted(self, scope: Any) -> bool:
        host, origin = _header(scope, b"host"), _header(scope, b"origin")
        try:
            name = urlsplit(f"//{host}").hostname
            if (self.local or self.hosts) and name not in LOOPBACK and name not in self.hosts:
                return False
            return not origin or urlsplit(origin).netloc == host
        except ValueError:
            return False


def _header(scope: Any, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
