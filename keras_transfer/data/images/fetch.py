"""The bytes of an image at a web address: http and https only, of bounded size, in bounded time."""

from __future__ import annotations

import re
import time

MAX_BYTES = 64 << 20
SECONDS = 30.0
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)


class FetchError(OSError):
    """What is at a web address cannot be had."""


def is_address(text: object) -> bool:
    """Return whether this is a web address."""
    return isinstance(text, str) and bool(_ADDRESS.match(text))


def has_password(address: str) -> bool:
    """Return whether an address names a user: what follows would end up in results and messages."""
    return "@" in _ADDRESS.sub("", address, count=1).split("/", 1)[0]


def _ascii(address: str) -> str:
    """Return an address as browsers send it (RFC 3987, 3.1): letters of other scripts as percent signs, those of the host as Punycode."""
    from urllib.parse import quote, urlsplit, urlunsplit

    if address.isascii():
        return address
    try:
        parts = urlsplit(address)
        host = parts.netloc.encode("idna").decode("ascii")
    except (UnicodeError, ValueError):
        raise FetchError("not a web address: its host cannot be written in ASCII") from None
    kept = "!#$%&'()*+,/:;=?@[]~"  # what has a meaning in addresses, and what is escaped already
    return urlunsplit((parts.scheme, host, *(quote(part, safe=kept) for part in parts[2:])))


def fetch(address: str, limit: int = MAX_BYTES, seconds: float = SECONDS) -> bytes:
    """Return what is at a web address.

    Redirections are followed, to http and https only: the opener knows no other scheme.

    Args:
        address: starts with http:// or https://.
        limit: maximum number of bytes.
        seconds: for the whole download.

    Raises:
        FetchError: another scheme, no answer in time, more bytes, an error of the server.
    """
    import http.client  # here, because few programs need them and they take longer than the rest of this room
    import urllib.error
    import urllib.request

    if not is_address(address):
        raise FetchError("expected an address that starts with http:// or https://")
    # urllib's default opener would also read file: and ftp: addresses, after a redirection too.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    request = urllib.request.Request(
        _ascii(address), headers={"User-Agent": "keras_transfer", "Accept": "image/*,*/*;q=0.5"}
    )
    end = time.monotonic() + seconds
    parts, size = [], 0
    try:
        with opener.open(request, timeout=seconds) as answer:
            while part := answer.read1(1 << 16):
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise FetchError(f"more than {limit >> 20} MiB")
                if time.monotonic() > end:
                    raise FetchError(f"not complete within {seconds:g} seconds")
    except urllib.error.HTTPError as error:
        raise FetchError(f"the server answered {error.code} {error.reason}") from None
    except FetchError:
        raise
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise FetchError(f"cannot be fetched: {getattr(error, 'reason', None) or error}") from None
    return b"".join(parts)
