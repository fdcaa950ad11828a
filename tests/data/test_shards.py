"""Shards: the same data as a folder, from here or elsewhere, with less room than they take."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from keras_transfer import data
from keras_transfer.data.augment import Transform
from keras_transfer.data.loading.loader import Loader
from keras_transfer.data.sharded import cache as cache_module
from keras_transfer.data.sharded import places
from keras_transfer.data.sharded.cache import BlockCache
from keras_transfer.data.sharded.texts import Texts
from keras_transfer.data.writing import shards as writing
from keras_transfer.data.writing.shards import parse_size, write_shards
from keras_transfer.errors import UserError
from keras_transfer.shard import shard
from tests.data.conftest import encoded, smooth
from tests.data.http_files import serving

GIB = 1 << 30
SIZE = 36_000


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(places, "FIRST_PAUSE", 0.001)
    return tmp_path / "cache" / "shards"


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """48 training pictures, 12 for validation; a name with points, a PNG, and one of 16 bits."""
    root = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 16), ("val", 4)):
        for k, name in enumerate(("cat", "dog", "owl")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                noise = np.random.default_rng([k, i, count]).integers(0, 256, (20, 24, 3), dtype=np.uint8)
                (folder / f"a.{i:02d}.jpg").write_bytes(encoded(noise, "JPEG", quality=90))
    (root / "train" / "cat" / "plain.png").write_bytes(encoded(smooth()))
    import cv2

    deep = np.linspace(0, 4095, 600).astype(np.uint16).reshape(20, 30)
    cv2.imwrite(str(root / "train" / "owl" / "deep.png"), deep)
    return root


@pytest.fixture(scope="module")
def shards(photos, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("shards") / "out"
    shard(str(photos), str(output), size=SIZE, say=lambda _: None)
    return output


@pytest.fixture(scope="module")
def server(shards):
    with serving(shards.parent) as state:
        yield state


def batches(found, epoch=0, workers=2, size=7):
    with Loader(found.train, Transform((16, 16), ["rotation"]), size, shuffle=True, seed=3, workers=workers) as loader:
        return [tuple(part.copy() for part in batch) for batch in loader.epoch(epoch)]


def same(one, other) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a, b) for x, y in zip(one, other) for a, b in zip(x, y, strict=True)
    )


def memory_copy(folder: Path, name: str) -> str:
    import fsspec

    fs = fsspec.filesystem("memory")
    for path in folder.iterdir():
        fs.pipe_file(f"/{name}/{path.name}", path.read_bytes())
    return f"memory://{name}"


# --- the same as a folder ---


def test_batches_and_fingerprint_are_those_of_the_folder(photos, shards):
    folder, found = data.folder(photos), data.shards(shards)
    assert found.fingerprint == folder.fingerprint
    assert found.split_table() == folder.split_table()
    assert found.depth == folder.depth is not None
    assert np.array_equal(found.content, folder.content)
    assert same(batches(folder, 1), batches(found, 1, workers=0))


@pytest.mark.parametrize("kind", ["memory", "http", "http without ranges"])
def test_from_elsewhere_too(photos, shards, server, kind):
    server.ranges, server.latency = kind == "http", 0.002
    path = memory_copy(shards, "same") if kind == "memory" else f"{server.address}/out"
    assert same(batches(data.folder(photos), 2), batches(data.shards(path), 2))


def test_tar_files_are_read_by_others_and_without_the_index(photos, shards, tmp_path):
    with tarfile.open(shards / "train-00000.tar") as tar:
        names = tar.getnames()
        first = json.loads(tar.extractfile(names[2]).read())
        assert [name.partition(".")[2] for name in names[:3]] in (["jpg", "cls", "json"], ["png", "cls", "json"])
        assert (photos / first["name"]).read_bytes() == tar.extractfile(names[0]).read()
    copy = shutil.copytree(shards, tmp_path / "copy")
    (copy / "index.json").unlink()
    assert data.shards(copy).fingerprint == data.folder(photos).fingerprint


def test_the_same_bytes_in_other_threads_and_another_order_of_names(photos, tmp_path, shards):
    shard(str(photos), str(tmp_path / "again"), size=SIZE, workers=1, say=lambda _: None)
    shard(str(photos), str(tmp_path / "other"), size=SIZE, seed=1, say=lambda _: None)
    files = {path.name: path.read_bytes() for path in shards.iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert files["train-00000.tar"] != (tmp_path / "other" / "train-00000.tar").read_bytes()
    assert all(len(content) <= SIZE for name, content in files.items() if name.endswith(".tar"))


def test_labels_weights_groups_and_arrays(tmp_path, write):
    write(tmp_path, {f"{i}.png": i for i in range(8)})
    rows = [f"{i}.png,{'a;b' if i % 2 else 'b'},{0.5 + i},{'g' if i < 2 else ''}" for i in range(8)]
    (tmp_path / "all.csv").write_text("path,labels,weight,group\n" + "\n".join(rows))
    shard(str(tmp_path / "all.csv"), str(tmp_path / "several"), say=lambda _: None)
    several = data.shards(tmp_path / "several", val_fraction=0.3, test_fraction=0).samples
    listed = data.csv(tmp_path / "all.csv", val_fraction=0.3, test_fraction=0).samples
    assert several.is_multi and several.classes == ("a", "b")
    for column in ("labels", "weights", "groups", "split"):
        assert np.array_equal(getattr(several, column), getattr(listed, column))
    images = np.random.default_rng(0).integers(0, 256, (10, 6, 5, 3), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", x=images, y=np.arange(10) % 2)
    shard(str(tmp_path / "x.npz"), str(tmp_path / "array"), say=lambda _: None)
    found = data.shards(tmp_path / "array").samples
    assert all(np.array_equal(found.images.read(i), images[i]) for i in range(10))


def test_classes_can_be_given(shards):
    turned = data.build("shards", path=shards, classes=["owl", "cat", "dog", "emu"], evaluation=True)
    assert turned.classes == ("owl", "cat", "dog", "emu")
    names = turned.samples.names()
    assert all(turned.classes[label] in name for label, name in zip(turned.samples.labels, names))
    with pytest.raises(UserError, match="'owl' is not one of"):
        data.shards(shards, classes=["cat", "dog"])


# --- less room than the data ---


def test_a_small_cache_visits_every_picture_once_in_a_seeded_order(shards, server, cache):
    server.ranges, server.latency = True, 0.0
    limit = 4.5 * SIZE
    found = data.shards(f"{server.address}/out", shard_cache=limit / GIB)
    images = found.samples.images
    assert images.window == 2 and "the images of 2 at a time" in found.summary()
    loader = Loader(found.train, Transform((16, 16)), 2, shuffle=True, seed=3, workers=2)
    orders = [loader.order(epoch) for epoch in (0, 1, 0)]
    assert np.array_equal(np.sort(orders[0]), np.arange(len(found.train)))
    assert np.array_equal(orders[0], orders[2]) and not np.array_equal(orders[0], orders[1])
    blocks = images.blocks(found.train.indices[orders[0]])
    for start in range(len(blocks)):  # a shard that was left is not visited again, and no more than two are mixed
        assert len(set(blocks[:start]) & set(blocks[start:])) <= 2
    before = images.located.files.fetched
    seen = []
    for epoch in range(2):
        for i in range(len(loader)):
            loader.batch(epoch, i)
            sizes = []
            for path in cache.glob("*.block"):
                with contextlib.suppress(FileNotFoundError):  # removed by the thread that fetches
                    sizes.append(path.stat().st_size)
            seen.append(sum(sizes))
    assert 0 < max(seen) <= limit
    shard_count = len(set(blocks))
    assert images.located.files.fetched - before < 3 * shard_count  # each twice, and some of the next epoch
    loader.close()


def test_passes_in_order_go_shard_by_shard(shards, server):
    server.ranges, server.latency = True, 0.0
    found = data.shards(f"{server.address}/out", shard_cache=2.5 * SIZE / GIB)
    blocks = found.samples.images.blocks(found.val.indices)
    assert (np.diff(blocks) >= 0).all() and len(set(blocks)) > 1
    names = {found.val.image_name(i) for i in range(len(found.val))}
    assert names == {name for name, split in found.split_table().items() if split == "val"}
    with pytest.raises(UserError, match="too small: expected shard_cache of at least two shards"):
        data.shards(f"{server.address}/out", shard_cache=1.5 * SIZE / GIB)


def test_any_batch_can_be_asked_for_first(shards, server):
    """What resuming needs."""
    found = data.shards(f"{server.address}/out", shard_cache=4.5 * SIZE / GIB)
    whole = batches(found, 5)
    with Loader(found.train, Transform((16, 16), ["rotation"]), 7, shuffle=True, seed=3, workers=2) as loader:
        assert same(whole[4:], [loader.batch(5, i) for i in range(4, len(loader))])


def test_a_failing_server_is_asked_again(shards, server):
    server.failures["out/train-00001.tar"] = 2
    assert len(batches(data.shards(f"{server.address}/out"))) == 6


def test_a_killed_process_leaves_no_room_taken(tmp_path, monkeypatch):
    store = BlockCache(tmp_path, 100)
    left = tmp_path / f".{'0' * 64}.{cache_module._host()}.999999999.part"
    left.write_bytes(bytes(90))

    class Block:
        name, size, key = "block", 50, "ab" * 32

        def write(self, stream):
            stream.write(b"x" * 50)

    assert store.fetch(Block()) is not None and not left.exists()
    Block.key = "cd" * 32
    assert store.fetch(Block(), pinned={"ab" * 32}) is not None
    Block.key = "ef" * 32
    assert store.fetch(Block(), pinned={"ab" * 32, "cd" * 32}) is None  # no room beside them
    assert store.fetch(Block()) is not None  # the least recently used goes
    assert sorted(path.stem[:2] for path in tmp_path.glob("*.block")) == ["cd", "ef"]


# --- what is wrong is named ---


def damaged(shards: Path, where: Path, name: str, content: bytes | None) -> Path:
    copy = shutil.copytree(shards, where)
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_bytes(content)
    return copy


@pytest.mark.parametrize(
    ("what", "said"), [("gone", "it is missing"), ("short", "bytes, expected"), ("flip", "SHA-256")]
)
@pytest.mark.parametrize("remote", [False, True])
def test_a_damaged_shard_is_named_and_left_out_only_if_asked(shards, tmp_path, what, said, remote):
    content = (shards / "train-00001.tar").read_bytes()
    changed = {"gone": None, "short": content[:-600], "flip": content[:700] + b"?" + content[701:]}[what]
    copy = damaged(shards, tmp_path / "copy", "train-00001.tar", changed)
    path = memory_copy(copy, f"{what}") if remote else copy
    with pytest.raises(UserError, match=rf"train-00001\.tar: .*{said}"):
        batches(data.shards(path))
    found = data.shards(path, skip_damaged_shards=True)
    assert any("train-00001.tar" in line and "left out" in line for line in found.details())
    lost = len(data.shards(shards)) - len(found)
    with tarfile.open(shards / "train-00001.tar") as tar:
        assert lost == len(tar.getnames()) // 3
    batches(found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda head, _: head.update(version=99), "version 99"),
        (lambda head, _: head["shards"][0].update(name="../x.tar"), "outside of the folder"),
        (lambda head, _: head["shards"][0].update(name="/etc/passwd"), "outside of the folder"),
        (lambda head, _: head["shards"][0].update(name="s3://x/y"), "outside of the folder"),
        (lambda _, columns: columns["offset"].__setitem__(0, -5), "outside of its shard"),
        (lambda _, columns: columns["length"].__setitem__(0, 1 << 29), "outside of its shard"),
        (lambda _, columns: columns["labels"].__setitem__(0, 7), "labels that do not fit"),
        (lambda _, columns: columns["shard"].__setitem__(slice(None), 77), "not listed"),
        (lambda _, columns: columns["name_ends"].__setitem__(0, 10**9), "ends do not fit"),
        (lambda _, columns: columns.pop("length"), "no column length"),
    ],
)
def test_a_hostile_index_is_refused(shards, tmp_path, change, said):
    copy = shutil.copytree(shards, tmp_path / "copy")
    head = json.loads((copy / "index.json").read_text())
    with np.load(copy / "index.npz") as found:
        columns = {name: found[name] for name in found.files}
    change(head, columns)
    np.savez(copy / "index.npz", **columns)
    head["columns"]["sha256"] = hashlib.sha256((copy / "index.npz").read_bytes()).hexdigest()
    (copy / "index.json").write_text(json.dumps(head))
    with pytest.raises(UserError, match=said):
        data.shards(copy)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://key:secret@bucket/x", "user or password"),
        ("https://me@host/x", "user or password"),
        ("https://host/x.tar?X-Amz-Signature=secret", "parameters"),
        ("ftp://host/x", "starts with s3://"),
        ("simplecache::s3://bucket/x", "starts with s3://"),
    ],
)
def test_credentials_are_refused_and_not_repeated(address, said):
    with pytest.raises(UserError, match=said) as error:
        data.shards(address)
    assert "secret" not in str(error.value) and "me@" not in str(error.value)


def test_messages_of_storages_lose_their_secrets():
    said = places.without_secrets("403, url='https://user:word@host/a.tar?Signature=abc&Expires=1' (x)")
    assert said == "403, url='https://host/a.tar' (x)"


# --- tar files of others ---


def foreign(path: Path, samples: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in samples.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def sample(key: str, seed: int, **files: str) -> dict[str, bytes]:
    return {f"{key}.jpg": encoded(smooth(12, 16, seed), "JPEG")} | {f"{key}.{e}": t.encode() for e, t in files.items()}


def many(label, count=6, start=0) -> dict[str, bytes]:
    return {k: v for i in range(start, start + count) for k, v in sample(f"{i:04d}", i, **label(i)).items()}


@pytest.mark.parametrize(
    ("label", "column", "classes"),
    [
        (lambda i: {"cls": str(i % 2)}, None, ("0", "1")),
        (lambda i: {"txt": "ab"[i % 2]}, None, ("a", "b")),
        (lambda i: {"json": json.dumps({"label": i % 2, "x": 1})}, None, ("0", "1")),
        (lambda i: {"json": json.dumps({"id": i, "species": "ab"[i % 2]})}, "json.species", ("a", "b")),
        (lambda i: {"cls": "9", "json": json.dumps({"species": "ab"[i % 2]})}, "json.species", ("a", "b")),
        (lambda i: {"genus.txt": "ab"[i % 2]}, "genus.txt", ("a", "b")),
    ],
)
def test_labels_of_foreign_shards(tmp_path, label, column, classes):
    foreign(tmp_path / "w" / "data-0.tar", many(label))
    foreign(tmp_path / "w" / "data-1.tar", many(label, start=6))
    for _ in range(2):  # the index is made, then found
        found = data.shards(tmp_path / "w", label_column=column).samples
        assert found.classes == classes and len(found) == 12
        assert np.bincount(found.labels).tolist() == [6, 6]
    assert len(list((tmp_path / "cache" / "shards" / "indexes").iterdir())) == 1


def test_splits_patterns_and_repeated_keys_of_foreign_shards(tmp_path):
    for name in ("train-000", "train-001", "val-000"):
        foreign(tmp_path / "w" / f"{name}.tar", many(lambda i: {"cls": str(i % 2)}))
    found = data.open(str(tmp_path / "w"), test_fraction=0)
    assert (len(found.train), len(found.val), len(found.test)) == (12, 6, 0)
    assert found.samples.names()[0] == "train-000/0000.jpg"
    some = data.shards(f"{tmp_path}/w/train-{{000..001}}.tar", classes=["no", "yes"])
    assert len(some) == 12 and some.classes == ("no", "yes")
    assert len(data.shards(f"{tmp_path}/w/train-*.tar")) == 12
    with pytest.raises(UserError, match=r"train-002\.tar: it is missing"):
        data.shards(f"{tmp_path}/w/train-{{000..002}}.tar")


def test_classes_are_folders_where_nothing_else_says(tmp_path):
    content = {name: encoded(smooth(seed=k)) for k, name in enumerate(("a/1.png", "a/2.png", "b/3.png", "b/4.png"))}
    foreign(tmp_path / "w" / "0.tar", content)
    assert data.shards(tmp_path / "w").classes == ("a", "b")


def test_foreign_shards_over_http(tmp_path):
    foreign(tmp_path / "w" / "train-0.tar", many(lambda i: {"cls": str(i % 2)}, 10))
    with serving(tmp_path) as state:
        listed = data.shards(f"{state.address}/w")
        named = data.shards(f"{state.address}/w/train-{{0..0}}.tar")
        assert len(listed) == len(named) == 10
        assert same(batches(listed), batches(data.shards(tmp_path / "w")))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda p: foreign(p, {"1.jpg": b"x", "1.png": b"x", "1.cls": b"0"}), "two pictures"),
        (lambda p: foreign(p, sample("1", 1, cls="0") | sample("2", 2)), "'2' has no label"),
        (lambda p: foreign(p, {"a.txt": b"hello"}), "no pictures"),
        (lambda p: p.write_bytes(b"nothing at all" * 99), r"0\.tar: not a tar file"),
        (lambda p: p.write_bytes(b"\x1f\x8b" + bytes(99)), "compressed"),
        (
            lambda p: p.write_bytes(foreign(p.with_suffix(".x"), many(lambda i: {"cls": "1"})).read_bytes()[:3000]),
            "not a tar file, or damaged",
        ),
    ],
)
def test_foreign_shards_that_cannot_be_read_say_why(tmp_path, content, said):
    (tmp_path / "w").mkdir()
    content(tmp_path / "w" / "0.tar")
    with pytest.raises(UserError, match=said):
        data.shards(f"{tmp_path}/w/0.tar")


def test_links_in_foreign_shards_are_refused(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        info = tarfile.TarInfo("1.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(UserError, match="link"):
        data.shards(tmp_path / "0.tar")


# --- writing ---


def test_a_stopped_writing_goes_on_to_the_same_bytes(photos, shards, tmp_path, monkeypatch):
    output = tmp_path / "out"
    real, count = writing.ShardWriter._keep, [0]

    def keep(self, *args):
        count[0] += 1
        if count[0] == 4:
            raise KeyboardInterrupt
        real(self, *args)

    monkeypatch.setattr(writing.ShardWriter, "_keep", keep)
    with pytest.raises(KeyboardInterrupt):
        shard(str(photos), str(output), size=SIZE, say=lambda _: None)
    assert not (output / "index.json").exists()
    monkeypatch.undo()
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="unfinished writing"):
        shard(str(photos), str(output), size=2 * SIZE, say=lambda _: None)
    lines = []
    assert shard(str(photos), str(output), size=SIZE, say=lines.append).resumed == 3
    assert "3 of them were finished before" in lines[0]
    assert {p.name: p.read_bytes() for p in output.iterdir()} == {p.name: p.read_bytes() for p in shards.iterdir()}
    assert shard(str(photos), str(output), size=SIZE, say=lambda _: None).complete
    with pytest.raises(UserError, match="other shards"):
        shard(str(photos), str(output), size=SIZE, seed=2, say=lambda _: None)


def test_unreadable_pictures_are_listed_or_left_out(photos, tmp_path):
    copy = shutil.copytree(photos, tmp_path / "copy")
    for name in ("train/cat/bad1.jpg", "val/dog/bad2.jpg"):
        (copy / name).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"2 of 64 images cannot be read(.|\n)*bad1(.|\n)*bad2"):
        shard(str(copy), str(tmp_path / "out"), size=SIZE, say=lambda _: None)
    lines: list[str] = []
    shard(str(copy), str(tmp_path / "left"), size=SIZE, on_bad_image="skip", say=lines.append)
    assert [line for line in lines if "bad1" in line or "bad2" in line] and len(data.shards(tmp_path / "left")) == 62


def test_an_output_with_something_else_is_left_alone(photos, tmp_path):
    foreign(tmp_path / "x" / "0.tar", many(lambda i: {"cls": "0"}))
    with pytest.raises(UserError, match="without an index"):
        shard(str(photos), str(tmp_path / "x"), say=lambda _: None)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="it is a file"):
        shard(str(photos), str(tmp_path / "file"), say=lambda _: None)


def test_writing_elsewhere(photos, shards):
    samples = data.folder(photos).samples
    write_shards(samples, "memory://written", size=SIZE)
    assert data.shards("memory://written").fingerprint == data.shards(shards).fingerprint


@pytest.mark.parametrize(
    ("text", "size"), [("256MB", 256 * 10**6), ("1.5 GiB", 3 << 29), (20_000, 20_000), ("64kb", 64_000)]
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "1XB", "5", "1e3MB"])
def test_no_sizes(text):
    with pytest.raises(UserError, match="size: expected"):
        parse_size(text)


def test_texts():
    words = ["", "ä", "b" * 300, "\udc80", ""]
    packed = Texts.of(words)
    assert list(packed) == words and packed[1:3] == words[1:3] and len(Texts.of([])) == 0
