"""Layer groups beyond the contract: patterns, anchors and the generic rule."""

from __future__ import annotations

import dataclasses

import pytest

from keras_transfer.models import backbones
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.groups import layer_groups

pytestmark = pytest.mark.backend


def groups_of(monkeypatch, **changes):
    record = dataclasses.replace(backbones.BACKBONES["tiny"], **changes)
    monkeypatch.setitem(backbones.BACKBONES, "tiny", record)
    return {
        name: [la.name for la in layers]
        for name, layers in layer_groups(build_classifier("tiny", 2, weights="none"), "tiny")
    }


def test_generic_rule_starts_a_group_at_each_resolution(monkeypatch):
    groups = groups_of(monkeypatch, groups=None)
    assert list(groups) == ["stage0", "stage1", "stage2"]
    assert groups["stage0"][0] == "stem_conv" and groups["stage1"][0] == "block1_pool"
    assert groups["stage2"] == ["block2_pool"]


@pytest.mark.parametrize(("anchors", "expected"), [("previous", "stem"), ("next", "top")])
def test_unmatched_layers_follow_their_anchor(monkeypatch, anchors, expected):
    groups = groups_of(monkeypatch, groups=(("stem", "stem_conv"), ("top", "block2_pool")), anchors=anchors)
    other = "top" if expected == "stem" else "stem"
    assert len(groups[other]) == 1 and "block1_conv" in groups[expected]


def test_layers_before_the_first_match_belong_to_the_first_group(monkeypatch):
    groups = groups_of(monkeypatch, groups=(("middle", "block1_conv"), ("top", "block2_conv")))
    assert groups["middle"][0] == "stem_conv"


def test_hub_names_use_the_generic_rule():
    model = build_classifier("tiny", 2, weights="none")
    assert [name for name, _ in layer_groups(model, "hub:anything")] == ["stage0", "stage1", "stage2"]
