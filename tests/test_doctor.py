"""Doctor finds what was planted, names it, and finds nothing where nothing is."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from keras_transfer.cli import main
from keras_transfer.data.checks import findings as findings_module
from keras_transfer.data.checks import near as near_module
from keras_transfer.data.checks.examine import examine
from keras_transfer.data.checks.near import (
    DRAWS,
    NEAR_BITS,
    NEAR_CORRELATION,
    NEIGHBOURS,
    close_pairs,
    difference_hashes,
    hashed_groups,
)
from keras_transfer.data.samples import ArrayStore, make_samples
from keras_transfer.doctor import doctor
from tests.conftest import make_photos


def scene(seed: int, size: int = 64) -> Image.Image:
    """A smooth image of its own: blobs of colour."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


@pytest.fixture
def scenes(tmp_path):
    """Three classes of twelve different images, already split."""
    folder = tmp_path / "scenes"
    for number, name in enumerate(("apple", "berry", "cherry")):
        for i in range(12):
            split = "test" if i >= 9 else "val" if i >= 6 else "train"
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            scene(100 * number + i).save(folder / split / name / f"{i}.png")
    return folder


def found(report) -> dict[str, list[list[str]]]:
    return {row["check"]: row["images"] for row in report["findings"]}


def test_good_data_is_left_in_peace(scenes, capsys):
    report = doctor(str(scenes))
    assert set(found(report)) == {"small images"}  # 64 pixels, for a model of 224
    assert report["splits"] == {"train": 18, "val": 9, "test": 9}


def test_everything_that_was_planted(scenes, tmp_path, capsys):
    train, val, test = scenes / "train", scenes / "val", scenes / "test"
    shutil.copy(train / "apple/0.png", test / "apple/copy.png")
    shutil.copy(train / "apple/1.png", train / "berry/other_label.png")
    Image.open(train / "berry/0.png").resize((48, 48)).save(val / "berry/near.jpg", quality=70)
    (train / "cherry/cut.png").write_bytes((train / "cherry/0.png").read_bytes()[:500])
    (train / "cherry/empty.jpg").touch()
    (train / "cherry/page.png").write_text("<!DOCTYPE html>")
    scene(999).save(train / "cherry/jpeg.png", format="JPEG")
    shutil.rmtree(test / "cherry")
    for i in range(120):
        scene(1000 + i).save(train / f"apple/more{i}.png")
    report = doctor(str(scenes), json_file=str(tmp_path / "d.json"), sheet_file=str(tmp_path / "sheet.png"))
    assert report == json.loads((tmp_path / "d.json").read_text())
    rows = found(report)
    assert rows["unreadable"] == [[f"train/cherry/{name}"] for name in ("cut.png", "empty.jpg", "page.png")]
    assert rows["wrong extension"] == [["train/cherry/jpeg.png"]]
    assert rows["copies across splits"] == [["test/apple/copy.png", "train/apple/0.png"]]
    assert rows["copies with different labels"] == [["train/apple/1.png", "train/berry/other_label.png"]]
    assert len(rows["copies"]) == 2
    assert rows["near duplicates across splits"] == [["train/berry/0.png", "val/berry/near.jpg"]]
    messages = {row["check"]: row["message"] for row in report["findings"]}
    assert messages["missing classes"] == "test has no images of: cherry"
    assert messages["imbalance"].startswith("apple has 133 images, cherry only")
    severities = [row["severity"] for row in report["findings"]]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 500 and len(np.unique(np.asarray(sheet.convert("RGB")).reshape(-1, 3), axis=0)) > 100
    assert "copies across splits" in capsys.readouterr().out


def test_the_split_that_training_would_make_is_judged(tmp_path, capsys):
    photos = make_photos(tmp_path / "photos", {"a": 30, "b": 30})
    for i in range(10):
        shutil.copy(photos / f"a/{i:03d}.png", photos / f"a/copy{i}.png")
    assert found(doctor(str(photos)))["copies across splits"]


@pytest.mark.parametrize("kind", ["list", "csv", "npz", "config", "recipe"])
def test_kinds_of_data(scenes, tmp_path, capsys, kind):
    names = sorted(str(path) for path in scenes.rglob("*.png"))
    lines = [(name, name.split("/")[-2]) for name in names]
    target = tmp_path / f"data.{ {'list': 'txt', 'config': 'yaml'}.get(kind, kind) }"
    if kind == "list":
        target.write_text("".join(f"{name} {label}\n" for name, label in lines))
    elif kind == "csv":
        target.write_text("path,label\n" + "".join(f"{name},{label}\n" for name, label in lines))
    elif kind == "npz":
        images = [np.asarray(Image.open(name)) for name in names]
        np.savez(target, x=np.stack(images), y=np.array([label for _, label in lines]))
    elif kind == "config":
        target.write_text(f"data: {{source: folder, path: {scenes}, image_size: 32}}\n")
    else:
        target = "quickstart"
    report = doctor(str(target))
    assert report["images"] == (1797 if kind == "recipe" else 36)
    if kind == "config":
        assert report["findings"] == []


def test_classes_that_cannot_be_split_are_a_finding(tmp_path, capsys):
    photos = make_photos(tmp_path / "photos", {"a": 12, "b": 1})
    report = doctor(str(photos))
    assert any(row["check"] in ("missing classes", "splits", "imbalance") for row in report["findings"])


def test_what_cannot_be_opened(tmp_path, capsys):
    assert main(["doctor", str(tmp_path / "nowhere")]) == 2
    assert main(["doctor", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("error: ") == 2


def test_images_without_contrast_are_no_duplicates():
    flat = np.repeat(np.arange(0, 200, 10, dtype=np.uint8), 64).reshape(-1, 8, 8)
    sample_table = make_samples(["a"], ArrayStore(flat), [0] * len(flat))
    assert examine(sample_table).alike() == []


def smooth(count: int, seed: int = 0) -> np.ndarray:
    """Thumbnails with slow gradients, as photographs have, whose hashes are anything but random."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 1, (count, 4, 4)).repeat(4, axis=1).repeat(4, axis=2)
    slope = np.linspace(-3, 3, 16)[None, :, None] * rng.normal(0, 0.3, (count, 1, 1))
    return np.clip(128 + 30 * (coarse + slope) + rng.normal(0, 6, (count, 16, 16)), 0, 255).astype(np.uint8)


def test_hashing_finds_nearly_all_pairs_with_few_comparisons():
    thumbs = smooth(3000)
    copies = thumbs[1000:1300].astype(int) + np.random.default_rng(1).integers(-2, 3, (300, 16, 16))
    brighter = np.clip(thumbs[1500:1600] * 1.1, 0, 255)
    thumbs = np.concatenate([thumbs, np.clip(copies, 0, 255).astype(np.uint8), brighter.astype(np.uint8)])
    every = close_pairs(thumbs)
    near = hashed_groups(thumbs)
    found = near.groups[every[:, 0]] == near.groups[every[:, 1]]
    assert len(every) >= 350 and found.mean() > 0.97
    whole = near_module.near_duplicates(thumbs).groups
    assert all(len(set(whole[near.groups == group])) == 1 for group in np.unique(near.groups))
    assert near.compared < 0.2 * len(thumbs) ** 2 / 2


def test_comparisons_grow_as_the_images_do():
    thumbs = np.concatenate([smooth(8000), smooth(1, 5).repeat(8000, axis=0)])[
        np.random.default_rng(2).permutation(16000)
    ]
    counts = [hashed_groups(thumbs[:size]).compared for size in (4000, 8000, 16000)]
    assert counts[1] < 3 * counts[0] and counts[2] < 3 * counts[1]
    assert counts[2] <= 16000 * DRAWS * NEIGHBOURS


def test_equal_thumbnails_are_linked_to_one_and_a_crowd_is_told():
    one = smooth(1, 3)
    many = one.repeat(5000, axis=0)
    many[1] = one[0].T
    near = hashed_groups(many)
    assert near.groups.tolist() == [near.groups[0], near.groups[1]] + [near.groups[0]] * 4998
    assert near.groups[0] != near.groups[1] and near.crowded == 0 and near.compared < 10_000
    # Everywhere brighter to the right and below: the same hash, however large the steps.
    rng, axis = np.random.default_rng(0), np.arange(16)
    across, down = (rng.integers(10, 100, (800, 1)) * (axis > rng.integers(0, 15, (800, 1))) for _ in range(2))
    steps = (across + axis)[:, None] + (down + axis)[:, :, None]
    assert len(np.unique(difference_hashes(steps.astype(np.uint8)), axis=0)) == 1
    near = hashed_groups(steps.astype(np.uint8))
    assert len(np.unique(near.groups)) > NEIGHBOURS and near.crowded > 0
    assert near.compared <= 800 * (DRAWS * NEIGHBOURS + 1)


def test_near_duplicates_among_many_images(monkeypatch):
    thumbs = smooth(60, 4)
    changed = thumbs[:5].copy()
    changed[:, 0, 0] ^= 1
    images = np.concatenate([thumbs, thumbs[:2], changed])
    samples = make_samples(["a"], ArrayStore(images), [0] * len(images), split=["train"] * 60 + ["val"] * 7)
    every = examine(samples).alike()
    for module in (near_module, findings_module):
        monkeypatch.setattr(module, "MAX_COMPARED", 50)
    examined = examine(samples)
    assert examined.alike() == every == [[0, 60, 62], [1, 61, 63], [2, 64], [3, 65], [4, 66]]
    said = {one.check: one.message for one in findings_module.findings(samples, examined, samples.split, None)}
    assert "5 groups of near-duplicate images: most of them" in said["near duplicates"]
    assert "5 groups in different splits" in said["near duplicates across splits"]


def test_close_pairs_are_those_of_comparing_all():
    rng = np.random.default_rng(0)
    thumbs = rng.integers(0, 256, (300, 16, 16), dtype=np.uint8)
    thumbs[200] = thumbs[10]
    thumbs[299] = np.clip(thumbs[130].astype(int) + rng.integers(-8, 9, (16, 16)), 0, 255)
    bits = np.unpackbits(difference_hashes(thumbs), axis=1).astype(int)
    assert bits.shape == (300, 240)
    distance = (bits[:, None] != bits[None]).sum(axis=2)
    correlation = np.corrcoef(thumbs.reshape(300, -1).astype(float))
    close = np.triu((distance <= NEAR_BITS) & (correlation >= NEAR_CORRELATION), 1)
    assert close_pairs(thumbs).tolist() == np.argwhere(close).tolist() == [[10, 200], [130, 299]]


@pytest.mark.slow
@pytest.mark.backend
def test_a_run_finds_wrong_labels_among_what_it_was_not_trained_on(tmp_path, capsys):
    photos = make_photos(tmp_path / "photos", {"apple": 40, "berry": 40}, size=32)
    small = ["--set", "model.backbone=tiny", "--set", "model.weights=none", "--set", "data.image_size=32",
             "--set", "data.augment=[]", "--set", "data.batch_size=8", "--set", "output.plots=false",
             "--set", "output.report=false",
             "--set", "phases=[{name: all, epochs: 12, learning_rate: 0.01, train: all}]"]  # fmt: skip
    run = tmp_path / "run"
    assert main(["train", "--data", str(photos), *small, "--output", str(run)]) == 0
    table = json.loads((run / "splits.json").read_text())
    unseen = next(name for name, split in sorted(table.items()) if split == "test" and name.startswith("apple"))
    (photos / "berry" / "moved.png").write_bytes((photos / unseen).read_bytes()[:-12] + b"\0\0\0\0IEND\xaeB`\x82")
    (photos / unseen).rename(photos / "berry" / "wrong.png")
    (photos / "berry" / "moved.png").unlink()
    report = doctor(str(photos), run=str(run))
    assert ["berry/wrong.png"] in found(report)["likely label errors"]
    assert not any(table.get(name) == "train" for (name,) in found(report)["likely label errors"])
