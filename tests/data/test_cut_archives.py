"""Archives of which a part would be left out silently, or something else be read."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import pytest

from keras_transfer import data
from keras_transfer.data.sources import _webdataset
from keras_transfer.errors import UserError
from tests.data.conftest import encoded, smooth

FILES = {f"{name}/{i}.png": encoded(smooth()[i:], "PNG") for name in ("cat", "dog", "owl") for i in range(4)}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path / "cache"))


def tar(files) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as file:
        for name, one in files.items():
            member = tarfile.TarInfo(f"set/{name}")
            member.size = len(one)
            file.addfile(member, io.BytesIO(one))
    return content.getvalue()


def zipped(files) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, one in files.items():
            file.writestr(name, one)
    return content.getvalue()


def names(path, content):
    path.write_bytes(content)
    return data.folder(path).samples.names()


def damaged(kind: str) -> bytes:
    whole = tar(FILES)
    at = whole.index(b"set/owl/0.png")
    changed = whole[: at + 148] + b"x" * 6 + whole[at + 154 :]  # the checksum of a header
    packed = gzip.compress(whole)
    return {
        "cut between files": whole[:at],
        "cut in a header": whole[: at + 100],
        "a damaged header": changed,
        "a damaged header, packed": gzip.compress(changed),
        "a wrong checksum behind it": packed[:-8] + b"\1" * 4 + packed[-4:],
        "two in one": whole + whole,
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["cut between files", "cut in a header", "a damaged header", "a damaged header, packed", "a wrong checksum behind it", "two in one"],
)  # fmt: skip
def test_nothing_is_left_out_silently(tmp_path, kind):
    with pytest.raises(UserError) as raised:
        names(tmp_path / "a.tar", damaged(kind))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["cut between files", "cut in a header", "a damaged header"])
def test_shards_of_others(kind):
    content = damaged(kind)
    with pytest.raises(tarfile.TarError):
        list(_webdataset.samples_in(io.BytesIO(content), "a.tar", len(content), None))


def test_a_tar_that_ends_with_a_zip(tmp_path):
    inside = zipped({f"{name}/{i}.png": one for name in "xy" for i, one in enumerate(FILES.values())})
    assert names(tmp_path / "a.tar", tar(FILES | {"old.zip": inside})) == sorted(FILES)


def test_a_zip_with_the_separators_of_windows(tmp_path):
    assert names(tmp_path / "a.zip", zipped({name.replace("/", "\\"): one for name, one in FILES.items()})) == sorted(
        FILES
    )
    outside = zipped({"..\\x.png": b"x"})
    with pytest.raises(UserError, match="outside"):
        names(tmp_path / "b.zip", outside)


def test_other_names_and_beginnings(tmp_path):
    for name, content in (
        ("a.tar.gz", zipped(FILES)),
        ("a.zip", tar(FILES)),
        ("b.zip", b"a program that unpacks itself" * 50 + zipped(FILES)),
        ("c.zip", gzip.compress(tar(FILES))),
    ):
        assert names(tmp_path / name, content) == sorted(FILES)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice(tmp_path):
    content = io.BytesIO(zipped(FILES))
    with zipfile.ZipFile(content, "a") as file:
        file.writestr("cat/0.png", b"another")
    with pytest.raises(UserError, match="twice"):
        names(tmp_path / "a.zip", content.getvalue())
