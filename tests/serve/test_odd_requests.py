"""Requests whose headers have no end, or whose file names no answer can hold."""

from __future__ import annotations

import socket
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from keras_transfer.serve.patience import MAX_HEAD
from tests.serve.conftest import encoded

pytestmark = pytest.mark.backend


def flood(site, head: bytes, piece: bytes) -> tuple[int, bytes]:
    """Send a beginning, then pieces; return how many bytes the server took before it ended the connection, and what it said."""
    parts = urlsplit(site.url)
    sent, said = 0, b""
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as client:
        with suppress(OSError):
            client.sendall(head)
            while sent < 200 * MAX_HEAD:
                client.sendall(piece)
                sent += len(piece)
        with suppress(OSError):  # what is sent into a closed connection may take the answer with it
            said = client.recv(4096)
    return sent, said


GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (GET + b"X: ", b"a" * 65536),
        (GET, b"X-A: b\r\n" * 8192),
        (b"GET /", b"a" * 65536),
        (POST + b"0\r\nX: ", b"a" * 65536),
        (POST + b"5;x=", b"a" * 65536),
    ],
    ids=["value", "many", "path", "trailer", "chunk"],
)
def test_headers_without_end(site, head, piece):
    sent, said = flood(site, head, piece)
    assert sent < 100 * MAX_HEAD  # some of it lies in the buffers of the system
    assert b" 200 " not in said
    assert site.post("/api/predict", encoded())[0] == 200


def test_headers_within_the_limit(site):
    assert site.post("/api/predict", encoded(), headers={"X": "a" * (MAX_HEAD // 2)})[0] == 200


def test_a_file_name_that_no_text_holds(site):
    mark = "q"
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="a\\ud800.png"\r\n\r\n'
    body = head.encode() + encoded() + f"\r\n--{mark}--\r\n".encode()
    status, answer = site.send(
        "/api/predict", body, Content_Type=f"multipart/form-data; boundary={mark}; charset=unicode_escape"
    )
    assert status == 200
    assert answer["file"] == "a?.png"
