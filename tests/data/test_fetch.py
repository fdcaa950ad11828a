"""Images at web addresses: http and https, of bounded size; nothing else."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from keras_transfer.data.images.fetch import FetchError, fetch
from keras_transfer.data.images.store import BadImage, FileStore
from keras_transfer.errors import UserError
from keras_transfer.evaluation.predict import find_images

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path in ("/pixel.png", "/gr%C3%BCn.png"):
            self._send(200, PIXEL)
        elif self.path == "/moved":
            self._send(302, b"", Location="/pixel.png")
        elif self.path == "/to-a-file":
            self._send(302, b"", Location="file:///etc/hostname")
        elif self.path == "/large":
            self._send(200, bytes(5000))
        else:
            self._send(404, b"")

    def _send(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_what_is_there_is_returned(address):
    assert fetch(f"{address}/pixel.png") == fetch(f"{address}/moved") == PIXEL
    assert FileStore([f"{address}/pixel.png"]).read(0).shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("path", "says"),
    [("/nothing", "404"), ("/to-a-file", "not allowed|unknown url type|not a valid|redirect"), ("/large", "more than")],
)
def test_what_cannot_be_had_is_one_line(address, path, says):
    with pytest.raises(FetchError, match=says):
        fetch(address + path, limit=4000)


@pytest.mark.parametrize(
    "other", ["file:///etc/hostname", "ftp://127.0.0.1/x.png", "data:image/png;base64,AA", "/etc/hostname"]
)
def test_other_schemes_are_refused(other):
    with pytest.raises(FetchError, match="http"):
        fetch(other)


def test_letters_of_other_scripts_are_sent_as_browsers_do(address):
    assert fetch(f"{address}/gr%C3%BCn.png") == fetch(f"{address}/gr\u00fcn.png") == PIXEL
    with pytest.raises(FetchError, match="host"):
        fetch("http://" + "\u00fc" * 200 + ".example/x.png")


def test_a_list_of_files_cannot_name_an_address(address, tmp_path):
    with pytest.raises(BadImage, match="no such file"):
        FileStore([f"{address}/pixel.png"], tmp_path).open(0)


@pytest.mark.parametrize("address", ["http://u:p@x.example/a.png", "HTTPS://token@x.example", "http://a@b@x.example/"])
def test_addresses_with_a_password_are_refused_without_printing_it(address):
    with pytest.raises(UserError, match="user or password") as caught:
        find_images(["http://x.example/@/b.png", address])
    assert address not in str(caught.value)


def test_an_at_sign_in_a_path_is_no_password():
    assert find_images("http://x.example/@me/b.png?to=c@d") == ["http://x.example/@me/b.png?to=c@d"]
