"""The API over real HTTP: correct answers, and a message for every error."""

from __future__ import annotations

import base64
import http.client
import io
import re
import struct
import threading
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import numpy as np
import pytest
from PIL import Image

from keras_transfer import data
from keras_transfer.evaluation.predict import predict_files
from tests.serve.conftest import CLASSES, METADATA, encoded, start_site

pytestmark = pytest.mark.backend


def png_header(height: int, width: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGB"), ("JPEG", "L"), ("WEBP", "RGB"), ("GIF", "P"), ("PNG", "RGBA")]
)
def test_the_same_probabilities_as_predict(site, tmp_path, kind, mode):
    image = encoded(kind, 3, (200, 300), mode)
    (tmp_path / "x").write_bytes(image)
    (expected,) = predict_files(site.predictor.model, METADATA, tmp_path / "x", top=2)
    status, answer = site.post("/api/predict?top=2", image, "holiday.png")
    assert status == 200
    assert answer["file"] == "holiday.png" and answer["image"] is None and answer["heatmap"] is None
    assert [one["name"] for one in answer["classes"]] == list(expected.classes)
    np.testing.assert_allclose([one["probability"] for one in answer["classes"]], expected.probabilities, atol=1e-5)


def test_explanation(site):
    from keras_transfer.explain import gradcam, heat
    from keras_transfer.inference import transform_of

    image = encoded("PNG", 5, (120, 90))
    _, answer = site.post("/api/predict?explain=true&top=99", image)
    assert len(answer["classes"]) == 3
    shown, laid_over = (_image(answer[key]) for key in ("image", "heatmap"))
    assert (shown.format, shown.size) == ("JPEG", (90, 120)), "in its own shape"
    assert (laid_over.format, laid_over.mode, laid_over.size) == ("PNG", "RGBA", (40, 32))
    image = transform_of(METADATA)(np.asarray(Image.open(io.BytesIO(image))))
    values = gradcam(site.predictor.model, image[None], CLASSES.index(answer["classes"][0]["name"]))[0]
    difference = np.asarray(laid_over)[..., 3].astype(int) - heat(values)[..., 3]
    assert abs(difference).max() <= 1


def _image(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"just text", "not an image"),
        (b"<html><body>404</body></html>", "HTML"),
        (encoded("JPEG", 0, (300, 300))[:600], ""),
        (encoded("PNG")[:200], ""),
        (png_header(50_000, 50_000), "pixels"),
        (png_header(7_000, 7_000), "40 megapixels"),
        (b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + b"\0\0\0,\0\0\0\0" + struct.pack("<HH", 60_000, 60_000), ""),
        (b"BM" + bytes(60), ""),
    ],
)
def test_bad_files_get_a_message(site, content, says):
    for address in ("/api/predict", "/api/predict?explain=true", "/api/correct"):
        status, answer = site.post(address, content, label="apple")
        assert status == 422 and set(answer) == {"detail"}
        assert says in answer["detail"] and 5 < len(answer["detail"]) < 200 and "Traceback" not in answer["detail"]
    assert not site.folder.exists() or b"" not in [p.read_bytes() for p in site.folder.glob("images/*")]


def test_bad_requests_get_a_message(site):
    assert site.post("/api/predict", None)[0] == 422
    status, answer = site.post("/api/predict?top=0", encoded())
    assert status == 422 and "top" in answer["detail"]
    status, answer = site.send("/api/predict", b"raw", Content_Type="image/png")
    assert status == 422 and "file" in answer["detail"]
    assert site.post("/api/correct", encoded())[0] == 422
    assert site.send("/api/nothing")[0] == 404


def test_large_uploads_are_refused(site):
    status, answer = site.post("/api/predict", encoded() + bytes(400_000))
    assert status == 413 and "MiB" in answer["detail"]
    status, answer = site.post("/api/predict", encoded() + bytes(240_000))
    assert status in (413, 422) and "MiB" in answer["detail"]
    # The same without a Content-Length header.
    connection = http.client.HTTPConnection(site.url.removeprefix("http://"), timeout=60)
    head = b'--m\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    chunks = iter([head, *[bytes(100_000)] * 5, b"\r\n--m--\r\n"])
    headers = {"Content-Type": "multipart/form-data; boundary=m", "Transfer-Encoding": "chunked"}
    connection.request("POST", "/api/predict", chunks, headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_other_sites_are_refused(site):
    own = site.url
    for headers, status in [
        ({"Origin": own}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Host": "[::1"}, 403),
    ]:
        assert site.post("/api/predict", encoded(), headers=headers)[0] == status, headers


def test_correction(site):
    status, answer = site.post("/api/correct", encoded(seed=8), label="big berry")
    assert status == 200 and answer["label"] == "big berry"
    read = data.build("list", path=answer["list"], classes=str(site.folder / "classes.txt"), evaluation=True).all
    labels = {read.samples.images.path(i).name: read.classes[read.labels[i]] for i in range(len(read))}
    assert labels[answer["image"].rpartition("/")[2]] == "big berry"
    status, answer = site.post("/api/correct", encoded(seed=8), label="big bery")
    assert status == 422 and "did you mean 'big berry'" in answer["detail"]


def test_two_hundred_at_once(site):
    """No request is lost, and each gets its own answer."""
    images = [encoded(seed=i) for i in range(8)]
    expected = [site.post("/api/predict?top=3", image)[1]["classes"] for image in images]
    gate = threading.Barrier(50)

    def ask(i):
        if i < 50:
            gate.wait(60)
        return site.post("/api/predict?top=3", images[i % 8], f"{i}.png")

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, range(200)))
    assert [status for status, _ in answers] == [200] * 200
    for i, (_, answer) in enumerate(answers):
        assert answer["file"] == f"{i}.png"
        got, right = ({one["name"]: one["probability"] for one in row} for row in (answer["classes"], expected[i % 8]))
        assert got == pytest.approx(right, abs=1e-5)


def test_the_schema_describes_the_answers(site):
    _, schema = site.send("/openapi.json")
    assert set(schema["paths"]) == {"/api/predict", "/api/predict/many", "/api/correct", "/api/model"}
    answers = {
        "/api/predict": site.post("/api/predict", encoded())[1],
        "/api/correct": site.post("/api/correct", encoded(), label="apple")[1],
        "/api/model": site.send("/api/model")[1],
    }
    for path, answer in answers.items():
        (operation,) = schema["paths"][path].values()
        _check(answer, operation["responses"]["200"]["content"]["application/json"]["schema"], schema)
    problem = schema["paths"]["/api/predict"]["post"]["responses"]["422"]["content"]["application/json"]["schema"]
    _check(site.post("/api/predict", b"x")[1], problem, schema)
    assert answers["/api/model"]["classes"] == CLASSES


def _check(value, schema, root):
    """Check a value against its schema, which must name all its keys."""
    schema = {**schema, "components": root["components"], "unevaluatedProperties": False}
    jsonschema.Draft202012Validator(schema).validate(value)


def test_the_page_is_whole_and_safe(site):
    with urllib.request.urlopen(site.url + "/") as answer:
        page, headers = answer.read().decode(), answer.headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "&lt;b&gt;cherry&lt;/b&gt;" in page and "<b>cherry" not in page
    text = page
    for name in re.findall(r'(?:src|href)="(/page/[^"]+)"', page):
        with urllib.request.urlopen(site.url + name) as answer:
            text += answer.read().decode()
    assert not re.findall(r"https?://|//cdn|@import", text), "must work offline"
    assert site.send("/docs")[0] == site.send("/redoc")[0] == 404


class Broken:
    """A predictor whose model fails."""

    classes, metadata, several = CLASSES, METADATA, False

    def ask(self, image, explain=False):
        raise RuntimeError("secret details")

    def close(self):
        pass


def test_internal_errors_reveal_nothing(tmp_path):
    site, stop = start_site(tmp_path, Broken())
    try:
        status, answer = site.post("/api/predict", encoded())
    finally:
        stop()
    assert status == 500 and "secret" not in answer["detail"]
