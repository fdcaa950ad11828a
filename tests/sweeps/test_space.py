"""Search spaces: what a file may say, and what is answered to one that is wrong. No framework is needed."""

from __future__ import annotations

import pytest

from keras_transfer.config.load import load_config
from keras_transfer.errors import UserError
from keras_transfer.models.backbones import at_hand
from keras_transfer.sweeps.dimension import Choice, Range
from keras_transfer.sweeps.space import open_space, ready_made

BASE = {"data": {"source": "digits"}, "phases": [{"name": "head"}, {"name": "all"}]}


def one(key, given):
    (found,) = open_space({key: given}, BASE).dimensions
    return found


def test_what_a_key_takes_decides_between_whole_numbers_and_others():
    assert one("data.batch_size", {"low": 8, "high": 64, "log": True}) == Range(
        "data.batch_size", 8, 64, True, None, True
    )
    assert one("phases.0.epochs", {"low": 2, "high": 9}).whole
    assert not one("model.dropout", {"low": 0, "high": 0.5}).whole
    assert one("phases.0.learning_rate", {"low": "1e-4", "high": "1e-2"}).low == 1e-4, "YAML reads 1e-4 as text"
    assert one("phases.0.ema_momentum", {"low": 0, "high": 0.9}).every() is None
    assert one("model.dropout", {"low": 0.0, "high": 0.5, "step": 0.25}).every() == [0.0, 0.25, 0.5]


def test_choices_are_values_or_names_of_values():
    plain = one("phases.0.optimizer", ["adamw", "sgd"])
    assert plain == Choice("phases.0.optimizer", {"adamw": "adamw", "sgd": "sgd"})
    named = one("data.augment", {"choice": {"none": [], "flip": ["horizontal_flip"]}})
    assert named.value("flip") == ["horizontal_flip"]
    assert list(one("data.augment", {"choice": [[], ["horizontal_flip"]]}).options) == ["[]", '["horizontal_flip"]']


def test_a_key_inside_of_another_is_set_after_it():
    space = open_space({"phases.-1.learning_rate": [0.1], "phases": [[{"name": "head"}], [{"name": "all"}]]}, BASE)
    labels = {"phases": '[{"name": "all"}]', "phases.-1.learning_rate": 0.1}
    (phase,) = space.config(BASE, labels).phases
    assert (phase.name, phase.learning_rate) == ("all", 0.1)
    assert BASE["phases"][0] == {"name": "head"}, "the base is not changed"


def test_changes_of_automatic_phases_are_searched_as_well():
    space = open_space({"phases.-1.epochs": [3]}, {"data": {"source": "digits"}})
    assert space.config({"data": {"source": "digits"}}, {"phases.-1.epochs": 3}).phases == {-1: {"epochs": 3}}


@pytest.mark.parametrize("name", ready_made())
@pytest.mark.parametrize("recipe", ["quickstart", "cifar10_resnet18"])
def test_ready_made_spaces_fit_every_recipe(name, recipe):
    base = load_config(recipe).model_dump(mode="json", exclude_unset=True)
    space = open_space(name, base)
    for each in space.dimensions:
        if isinstance(each, Choice):
            for label in each.options:
                space.config(base, {one.key: one.samples()[-1] for one in space.dimensions} | {each.key: label})


def test_installed_backbones_are_those_at_hand():
    assert list(one("model.backbone", {"choice": "installed"}).options) == at_hand()


def test_several_spaces_are_one_and_a_file_may_name_values(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("model.dropout: {low: 0, high: 0.5}\nmodel.label_smoothing: [0.1, 0.2]\n")
    space = open_space(["augmentation", file], BASE)
    assert set(space.keys) == {"data.augment", "model.label_smoothing", "model.dropout"}
    label = next(each for each in space.dimensions if each.key == "model.label_smoothing")
    assert list(label.options) == [0.1, 0.2], "the later file counts"


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"model.dropot": [0.1]}, r"dropot'; did you mean 'dropout'"),
        ({"modl.dropout": [0.1]}, r"'modl'; did you mean 'model'"),
        ({"model.dropout": {"min": 0, "max": 1}}, r"model.dropout: unknown word 'min'; did you mean 'low'"),
        ({"model.dropout": {"values": [0, 1]}}, r"did you mean 'choice'"),
        ({"model.dropout": {"low": 0}}, r"model.dropout: high is missing"),
        ({"model.dropout": {"low": 0.5, "high": 0.1}}, r"low must be below high, got 0.5 and 0.1"),
        ({"model.dropout": {"low": 0, "high": 0.5, "log": True}}, r"low must be above 0 where log is true"),
        ({"model.dropout": {"low": 0.1, "high": 0.5, "log": "yes"}}, r"log: expected true or false"),
        ({"model.dropout": {"low": 0, "high": 0.5, "step": 0}}, r"step: expected more than 0"),
        ({"model.dropout": {"low": "a", "high": 0.5}}, r"low: expected a number, got 'a'"),
        ({"model.dropout": {"low": 0, "high": 3}}, r"model.dropout.*got 3"),
        ({"model.dropout": 0.3}, r"expected \{choice"),
        ({"model.dropout": []}, r"at least one value"),
        ({"model.dropout": [0.1, 0.1]}, r"twice"),
        ({"model.backbone": ["resnet18", "resnet19"]}, r"model.backbone.*resnet19.*did you mean 'resnet"),
        ({"data.augment": [["horizontal_flop"]]}, r"data.augment.*horizontal_flip"),
        ({"phases.7.epochs": [1]}, r"phases.7.epochs: expected a number from 0 to 1"),
        ({"phases.0.lr": [1]}, r"lr'; did you mean 'learning_rate'"),
        ({"backend": ["torch", "jax"]}, r"backend cannot be searched: a process has one backend"),
        ({"output.dir": ["a"]}, r"cannot be searched"),
        ({}, r"the space is empty"),
        ("phasis", r"no space 'phasis'; did you mean 'phases'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(space, message):
    with pytest.raises(UserError, match=message) as found:
        open_space(space, BASE)
    assert len(str(found.value).splitlines()) == 1


def test_every_wrong_key_has_its_line():
    with pytest.raises(UserError) as found:
        open_space({"model.dropot": [0.1], "data.batch_size": ["x"]}, BASE)
    assert len(str(found.value).splitlines()) == 2
