"""Configurations that nobody would write: each is valid, or refused with lines for the user. Never anything else."""

from __future__ import annotations

import string
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_transfer.config.load import load_config, section_of
from keras_transfer.config.schema import RunConfig
from keras_transfer.data.augment import AUGMENTATIONS, transforms
from keras_transfer.errors import UserError
from tests.conftest import make_photos


def _keys(section: Any) -> list[str]:
    return list(section.model_fields)


WORDS = st.sampled_from(
    ["auto", "none", "folder", "digits", "rgb", "head", "all", "last 2 groups", "imagenet", "tiny", "squash", "1e-3", "yes",
     "null", "", "2024-01-99", "sgd", "cosine", *AUGMENTATIONS]
)  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.integers(),
    st.floats(),
    WORDS,
    st.text(string.printable, max_size=12),
    st.dates(),
)
KEYS = st.one_of(WORDS, st.integers(-1, 3), st.none(), st.booleans(), st.text(max_size=5))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


def _section(section: Any) -> st.SearchStrategy[Any]:
    """Mostly known keys, each with something valid-looking or anything at all."""
    known = st.dictionaries(st.sampled_from(_keys(section)), VALUES, max_size=4)
    return st.one_of(known, known, VALUES)


TREES = st.fixed_dictionaries(
    {},
    optional={
        name: st.lists(_section(section_of(field.annotation)), max_size=2) | VALUES
        if name == "phases"
        else _section(section)
        if (section := section_of(field.annotation))
        else VALUES
        for name, field in RunConfig.model_fields.items()
    },
)
OVERRIDES = st.lists(
    st.tuples(
        st.sampled_from(["data.batch_size", "phases.0.epochs", "phases", "model.backbone", "seed", "a.b", "data", ""]),
        st.one_of(WORDS, st.text(string.printable, max_size=10)),
    ).map("=".join),
    max_size=2,
)
ALL = settings(deadline=10_000, suppress_health_check=list(HealthCheck), derandomize=True, database=None)


def outcome(folder: Any, content: bytes, overrides: list[str]) -> str:
    """ "valid" or "refused"; anything else is raised."""
    file = folder / "fuzzed.yaml"
    file.write_bytes(content)
    try:
        config = load_config(str(file), overrides, data=str(folder / "photos"))
        size = config.data.image_size if config.data.image_size != "auto" else 32
        size = (size, size) if isinstance(size, int) else size
        transforms([] if config.data.augment == "auto" else config.data.augment, size, config.data.resize, "rgb")
        _open(config)
    except UserError as error:
        assert str(error).strip()
        return "refused"
    return "valid"


def _open(config: RunConfig) -> None:
    """What a valid configuration opens has the labels of its folders."""
    from keras_transfer.config.open_data import open_data

    found = open_data(config)
    for name, label in zip(found.samples.names(), found.samples.labels):
        assert name.split("/")[0] == found.classes[label]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    make_photos(folder / "photos", {"apple": 5, "berry": 5}, size=8)
    return folder


def fuzz(folder: Any, examples: int) -> dict[str, int]:
    counts = {"valid": 0, "refused": 0}

    @settings(ALL, max_examples=examples)
    @given(TREES, OVERRIDES)
    def run(tree: Any, overrides: list[str]) -> None:
        counts[outcome(folder, yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "replace"), overrides)] += 1

    run()
    return counts


def test_trees(folder):
    counts = fuzz(folder, 400)
    assert counts["valid"] and counts["refused"]


@pytest.mark.exhaustive
def test_many_trees(folder):
    counts = fuzz(folder, 10_000)
    assert sum(counts.values()) >= 10_000 and counts["valid"] > 100


@settings(ALL, max_examples=100)
@given(st.one_of(st.binary(max_size=60), st.text(string.printable, max_size=60).map(str.encode)))
def test_files_that_are_no_configuration(folder, content):
    outcome(folder, content, [])


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(24)
)
HOSTILE = {
    "billion laughs": LAUGHS + "data: {classes: *y}\n",
    "itself": "data: &d {classes: [*d]}\n",
    "deep": "data: " + "[" * 20_000 + "]" * 20_000,
    "object": "data: !!python/object/apply:os.system [true]\n",
    "no date": "name: 2024-99-99\n",
    "large": "name: " + "x" * (4 << 20),
    "number": "seed: " + "9" * 10_000,
    "keys": "{[1]: 2}",
    "not text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(folder, name):
    content = HOSTILE[name]
    assert outcome(folder, content if isinstance(content, bytes) else content.encode(), []) == "refused"
