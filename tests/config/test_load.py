"""Configuration: files, names, overrides and errors that list every problem."""

from __future__ import annotations

import pytest
import yaml

from keras_transfer.config.load import dump, find_config, load_config, parse_overrides, recipe_names, validate
from keras_transfer.config.schema import Phase
from keras_transfer.errors import UserError


def problems(tree) -> list[str]:
    with pytest.raises(UserError) as error:
        validate(tree)
    return str(error.value).splitlines()


def test_all_unknown_keys_are_reported_at_once_with_the_nearest_name():
    lines = problems({"sed": 1, "data": {"batchsize": 3}, "phases": [{"name": "head", "epoch": 3}]})
    assert len(lines) == 3
    assert any("'sed'; did you mean 'seed'?" in line for line in lines)
    assert any("'data.batchsize'; did you mean 'batch_size'?" in line for line in lines)
    assert any("'phases.0.epoch'; did you mean 'epochs'?" in line for line in lines)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"data": {"batch_size": 0}}, "data.batch_size"),
        ({"data": {"batch_size": True}}, "got a boolean"),
        ({"data": {"resize": "sqash"}}, "did you mean 'squash'"),
        ({"data": 3}, "data: input should be"),
        ({"data": {"val_fraction": 1.0}}, "data.val_fraction"),
        ({"phases": []}, "phases: list should have at least 1 item"),
        ({"phases": {"name": "head", "epochs": 3}}, "expected a list of phases"),
        ({"phases": {0: {"epoch": 3}}}, "did you mean 'epochs'"),
        ({"phases": None}, "expected a list of phases"),
        ({"data": {"image_size": [3, "x"]}}, "data.image_size.1"),
        ({"phases": [{"name": "middle"}]}, "needs 'train'"),
        ({"phases": [{"name": "head", "train": "lst 2 groups"}]}, "last N groups"),
        ({"phases": [{"name": "head", "train": []}]}, "at least one pattern"),
        ({"phases": [{"name": "head"}, {"name": "head"}]}, "different names"),
        ({"phases": [{"name": "head", "learning_rate": float("nan")}]}, "learning_rate"),
        ({"phases": [{"name": "head", "warmup_epochs": 1}]}, "warmup_epochs needs schedule"),
        ({"seed": -1}, "seed"),
        ({"name": "a/b"}, "name"),
        ({"callbacks": {"monitor": "loss"}}, "callbacks.monitor"),
    ],
)
def test_a_bad_value_names_its_key_once(tree, words):
    lines = problems(tree)
    assert len(lines) == 1
    assert words in lines[0]


def test_dump_and_validate_are_inverse():
    config = validate(
        {"phases": [{"name": "head", "epochs": 2}, {"name": "last 2 groups"}], "data": {"image_size": [3, 4]}}
    )
    assert validate(yaml.safe_load(dump(config))) == config


def test_phase_takes_its_name_in_front_and_trains_what_it_says():
    assert Phase("head", epochs=3).train == "head"
    assert Phase("last 2 groups").train == "last 2 groups"
    assert Phase("warm", train=["block*"]).train == ["block*"]


def test_overrides_address_lists_by_number_and_read_numbers(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("phases:\n  - {name: head, epochs: 2}\n", encoding="utf-8")
    config = load_config(
        str(file), ["phases.0.epochs=7", "phases.0.learning_rate=1e-3", "data.augment=[horizontal_flip]"]
    )
    assert (config.phases[0].epochs, config.phases[0].learning_rate) == (7, 0.001)
    assert config.data.augment == ["horizontal_flip"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("epochs", "expects KEY=VALUE"),
        ("=3", "expects KEY=VALUE"),
        ("seed=[", "not a valid value"),
        ("phases.1.epochs=2", "a number from 0 to 0"),
        ("name.first=x", "has no keys inside"),
        ("phases.0.learning_rate=autoo", "valid number.*or auto; did you mean 'auto'"),
        ("callbacks.mlflow=3", "^callbacks.mlflow: expected true, false or a name, got 3$"),
        ("callbacks.wandb=", "^callbacks.wandb: expected true, false or a name, got None$"),
        ("data.batch_size=large", "valid integer.*or auto, got 'large'"),
    ],
)
def test_bad_overrides(tmp_path, override, words):
    file = tmp_path / "a.yaml"
    file.write_text("name: n\nphases:\n  - {name: head}\n", encoding="utf-8")
    with pytest.raises(UserError, match=words):
        load_config(str(file), [override])


def test_data_takes_the_place_of_the_recipes_data_and_names_the_run(tmp_path):
    config = load_config(None, [], data=str(tmp_path / "my photos"))
    assert (config.name, config.data.source, config.data.path) == ("my_photos", "folder", str(tmp_path / "my photos"))
    config = load_config("quickstart", [], data=str(tmp_path / "x.csv"))
    assert (config.name, config.data.source) == ("quickstart", "csv")


def test_a_config_that_is_not_there_names_the_nearest(tmp_path):
    with pytest.raises(UserError, match="did you mean 'quickstart'"):
        find_config("quikstart")
    with pytest.raises(UserError, match="is a folder"):
        find_config(str(tmp_path))


@pytest.mark.parametrize(("text", "words"), [("a: [", "not valid YAML"), ("- 1", "expected keys and values")])
def test_bad_files(tmp_path, text, words):
    file = tmp_path / "a.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        load_config(str(file))


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read"):
        load_config(str(tmp_path / "a.yaml"))


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_valid(name):
    load_config(name)


def test_parse_overrides_splits_at_the_first_equals_sign():
    assert parse_overrides(["data.path=a=b"]) == [(["data", "path"], "a=b")]


def test_an_unknown_source_is_named_before_anything_is_opened(tmp_path):
    (tmp_path / "a.yaml").write_text("data: {source: foldr}", encoding="utf-8")
    with pytest.raises(UserError, match="did you mean 'folder'"):
        load_config(str(tmp_path / "a.yaml"))
