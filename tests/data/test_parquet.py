"""Parquet files with image bytes, and Hugging Face data sets: the same pictures as a folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from keras_transfer import data
from keras_transfer.errors import UserError
from keras_transfer.shard import shard
from tests.data.test_shards import batches, memory_copy, same

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "shards"


def table(folder: Path, files: list[Path], image: str = "struct", label: str = "number", features: bool = False):
    classes = sorted({file.parent.name for file in files})
    contents = [file.read_bytes() for file in files]
    numbers = [classes.index(file.parent.name) for file in files]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "image": pa.array([{"bytes": c, "path": f.name} for c, f in zip(contents, files)], kind)
        if image == "struct"
        else pa.array(contents, pa.binary()),
        "label": pa.array(numbers if label == "number" else [classes[n] for n in numbers]),
        "other": pa.array(range(len(files))),
    }
    made = pa.table(columns)
    if features:
        about = {
            "info": {"features": {"label": {"names": classes, "_type": "ClassLabel"}, "image": {"_type": "Image"}}}
        }
        made = made.replace_schema_metadata({"huggingface": json.dumps(about)})
    folder.mkdir(exist_ok=True)
    return made


@pytest.fixture
def files(animals) -> list[Path]:
    return sorted(animals.rglob("*.jpg"))


@pytest.mark.parametrize("image", ["struct", "binary"])
@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("features", [False, True])
def test_the_pictures_are_those_of_the_folder(animals, files, tmp_path, image, remote, features):
    made = table(tmp_path / "p", files, image, "number" if features else "name", features)
    pq.write_table(made, tmp_path / "p" / "all.parquet", row_group_size=7)
    path = memory_copy(tmp_path / "p", f"p{image}{features}") if remote else tmp_path / "p" / "all.parquet"
    found, folder = (
        data.open(str(path) if remote else path, seed=1) if not remote else data.parquet(path, seed=1),
        data.folder(animals, seed=1),
    )
    assert found.classes == folder.classes
    assert np.array_equal(found.content, folder.content)  # rows were in the order of the names
    assert np.array_equal(found.samples.split, folder.samples.split)
    assert same(batches(found, 1), batches(folder, 1))


def test_splits_lists_of_labels_and_other_columns(files, tmp_path):
    made = table(tmp_path / "p", files, "binary", "name")
    rows = pa.array([["a", "b"] if i % 2 else ["b"] for i in range(len(files))])
    made = made.append_column("tags", rows).rename_columns(["scan", "label", "other", "tags"])
    for name, part in (("train-0", made.slice(0, 20)), ("validation-0", made.slice(20))):
        pq.write_table(part, tmp_path / "p" / f"{name}.parquet")
    found = data.parquet(tmp_path / "p", image_column="scan", label_column="tags", test_fraction=0)
    assert found.is_multi and found.classes == ("a", "b")
    assert (len(found.train), len(found.val)) == (20, len(files) - 20)
    with pytest.raises(UserError, match=r"no column 'tag'; did you mean 'tags'"):
        data.parquet(tmp_path / "p", image_column="scan", label_column="tag")
    with pytest.raises(UserError, match="image_column: expected one of image"):
        data.parquet(tmp_path / "p")


def test_a_small_cache_and_shards_made_of_it(files, tmp_path, cache):
    made = table(tmp_path / "p", files, "struct", "name")
    pq.write_table(made, tmp_path / "p" / "train.parquet", row_group_size=5)
    sizes = [len(file.read_bytes()) for file in files]
    limit = 5 * max(sizes) * 4 / (1 << 30)
    found = data.parquet(tmp_path / "p", shard_cache=limit)
    assert found.samples.images.window > 0
    assert sum(len(y) for _, y in batches(found, size=2)) == len(found.train)
    assert sum(path.stat().st_size for path in cache.glob("*.block")) <= limit * (1 << 30)
    shard(str(tmp_path / "p" / "train.parquet"), str(tmp_path / "out"), say=lambda _: None)
    written = data.shards(tmp_path / "out")
    assert np.array_equal(written.content, found.content) and written.samples.names() == found.samples.names()


def test_damaged_files_are_named(files, tmp_path):
    made = table(tmp_path / "p", files, "struct", "name")
    pq.write_table(made, tmp_path / "p" / "0.parquet")
    (tmp_path / "p" / "1.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(UserError, match=r"1\.parquet: not a Parquet file"):
        data.parquet(tmp_path / "p")
    found = data.parquet(tmp_path / "p", skip_damaged_shards=True)
    assert len(found) == len(files) and any("1.parquet" in line for line in found.details())
    empty = made.set_column(0, "image", pa.array([None] * len(files), made.schema.field("image").type))
    pq.write_table(empty, tmp_path / "p" / "1.parquet")
    with pytest.raises(UserError, match=f"{len(files)} of {2 * len(files)} images cannot be read"):
        data.parquet(tmp_path / "p")
