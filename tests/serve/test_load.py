"""Slow clients, images that take long to decode, several images in one request, and a proxy in front."""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np
import pytest

from keras_transfer.data.images.store import BadImage
from keras_transfer.errors import UserError
from keras_transfer.serve.decoder import Decoders
from keras_transfer.serve.server import Proxy
from tests.safety.test_images import BOMBS
from tests.serve.conftest import METADATA, encoded, start_site

pytestmark = pytest.mark.backend


def start(folder, predictor, **limits):
    return start_site(folder, predictor, patience=1.5, **limits)


@pytest.fixture(scope="module")
def strict(site, tmp_path_factory):
    """A server that waits 1.5 seconds for its clients."""
    from keras_transfer.serve.predictor import Predictor

    found, stop = start(tmp_path_factory.mktemp("strict"), Predictor(site.predictor.model, METADATA), upload=200_000)
    yield found
    stop()


def slow_client(site, head: bytes, piece: bytes) -> tuple[float, bytes]:
    """Send a beginning, then a piece every 0.2 seconds; return how long the server bore it, and what it said."""
    parts = urlsplit(site.url)
    began = time.monotonic()
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as client:
        client.sendall(head)
        client.settimeout(0.2)
        said = b""
        while time.monotonic() - began < 15:
            try:
                part = client.recv(4096)
                said += part
                if not part:
                    break
            except TimeoutError:
                try:
                    client.sendall(piece)
                except OSError:
                    break
            except OSError:
                break
    return time.monotonic() - began, said


def test_slow_clients_are_timed_out_while_others_are_served(strict):
    body = b"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=q\r\nContent-Length: 90000\r\n\r\n"
    attackers = [(b"GET / HTTP/1.1\r\nHost:", b" "), (b"", b""), (body, b"x"), (body, b"")] * 6
    with ThreadPoolExecutor(len(attackers)) as pool:
        jobs = [pool.submit(slow_client, strict, *one) for one in attackers]
        for _ in range(5):
            assert strict.post("/api/predict", encoded())[0] == 200
        results = [job.result() for job in jobs]
    assert max(took for took, _ in results) < 12
    # A client that is still sending when the connection ends may lose the answer; one that waits gets it.
    assert all(b" 408 " in said for _, said in results[3::4]) and not any(b" 200 " in said for _, said in results)


def many(site, *files: bytes):
    mark = uuid.uuid4().hex
    body = b"".join(
        f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{i}.png"\r\n\r\n'.encode()
        + file
        + b"\r\n"
        for i, file in enumerate(files)
    )
    return site.send("/api/predict/many?top=2", body + f"--{mark}--\r\n".encode(),
                     Content_Type=f"multipart/form-data; boundary={mark}")  # fmt: skip


def test_several_images_in_one_request(strict):
    images = [encoded(seed=i) for i in range(5)]
    status, answers = many(strict, *images[:2], b"no image", *images[2:])
    assert status == 200 and [one["file"] for one in answers] == [f"{i}.png" for i in range(6)]
    assert "not an image" in answers[2]["error"] and answers[2]["classes"] == []
    for image, answer in zip(images, answers[:2] + answers[3:]):
        alone = strict.post("/api/predict?top=2", image)[1]["classes"]
        assert [one["name"] for one in alone] == [one["name"] for one in answer["classes"]]
    assert many(strict, *[encoded(size=(8, 8))] * 33)[0] == 422
    assert many(strict, *[bytes(190_000)] * 6)[0] == 413


@pytest.mark.parametrize("name", ["TEM has no length", "many scans", "a large WebP canvas"])
def test_bombs_get_a_message(strict, name):
    status, answer = strict.post("/api/predict", BOMBS[name])
    assert status == 422 and answer["detail"]


class TestDecoders:
    def test_an_image_that_takes_too_long(self):
        async def ask() -> None:
            decoders = Decoders(METADATA, 40_000_000, 0.001, 2)
            with pytest.raises(BadImage, match=r"more than 0\.001 s"):
                await decoders.prepare("x", encoded(size=(3000, 3000)), False)
            await decoders.close()

        asyncio.run(ask())

    def test_a_decoder_that_dies_costs_one_answer(self):
        async def ask() -> None:
            decoders = Decoders(METADATA, 40_000_000, 30, 2)
            first, _ = await decoders.prepare("x", encoded(), False)
            await decoders._idle[0].stop()
            with pytest.raises(BadImage, match="its decoder failed"):
                await decoders.prepare("x", encoded(), False)
            again, view = await decoders.prepare("x", encoded(), True)
            np.testing.assert_array_equal(first, again)
            assert view is not None and view.shape == (60, 90, 3)
            await decoders.close()

        asyncio.run(ask())

    def test_a_request_that_is_given_up_leaves_no_answer_for_the_next(self):
        async def ask() -> None:
            decoders = Decoders(METADATA, 40_000_000, 30, 1)
            small = encoded(size=(8, 8))
            first, _ = await decoders.prepare("x", small, False)
            given_up = asyncio.create_task(decoders.prepare("x", encoded(size=(3000, 3000)), False))
            await asyncio.sleep(0.01)
            given_up.cancel()
            again, _ = await decoders.prepare("x", small, False)
            np.testing.assert_array_equal(first, again)
            await decoders.close()

        asyncio.run(ask())


class TestProxy:
    @pytest.fixture(scope="class")
    def public(self, site, tmp_path_factory):
        from keras_transfer.serve.predictor import Predictor

        predictor = Predictor(site.predictor.model, METADATA)
        found, stop = start(tmp_path_factory.mktemp("proxy"), predictor, hosts=("demo.example.org",))
        yield found
        stop()

    @pytest.mark.parametrize(
        ("host", "origin", "status"),
        [
            ("demo.example.org", "https://demo.example.org", 200),
            ("127.0.0.1", None, 200),
            ("evil.example.org", None, 403),
            ("demo.example.org", "https://evil.example.org", 403),
        ],
    )
    def test_only_its_own_names(self, public, host, origin, status):
        headers = {"Host": host, **({"Origin": origin} if origin else {})}
        assert public.post("/api/predict", encoded(), headers=headers)[0] == status

    def test_the_page_works_below_any_path(self, public):
        import urllib.request

        with urllib.request.urlopen(public.url + "/") as answer:
            page = answer.read().decode()
        with urllib.request.urlopen(public.url + "/page/page.js") as answer:
            script = answer.read().decode()
        assert 'src="page/page.js"' in page and '"/api' not in script and '"api/predict' in script

    @pytest.mark.parametrize(
        ("proxy", "says"),
        [
            (Proxy(root_path="demo"), "--root-path"),
            (Proxy(root_path="/demo/"), "--root-path"),
            (Proxy(certificate="a.pem"), "both or neither"),
            (Proxy(certificate="gone.pem", key="gone.pem"), "--tls-certificate"),
        ],
    )
    def test_settings_that_cannot_work(self, proxy, says):
        with pytest.raises(UserError, match=says):
            proxy.check()
