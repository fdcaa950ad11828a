"""Layer groups: the backbone's layers in named groups, from input to output."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from keras_transfer.keras_compat import producer
from keras_transfer.models import backbones
from keras_transfer.models.checkpoints.reference import is_reference
from keras_transfer.models.layer_names import backbone_layers

if TYPE_CHECKING:
    import keras

Groups = list[tuple[str, list["keras.layers.Layer"]]]


def layer_groups(model: keras.Model, backbone_name: str) -> Groups:
    """Return the backbone's layer groups, input to output.

    Every layer of the backbone is in exactly one group; input, preprocessing and head are in none.

    Args:
        model: a classifier built by :func:`~keras_transfer.models.classifier.build_classifier`.
        backbone_name: name of its backbone, whose record defines the groups; checkpoints of timm and transformers name their layers by
            block; ``hub:`` presets and ``own:`` models follow the generic rule, a new group wherever the feature map becomes smaller.
    """
    layers = backbone_layers(model)
    if is_reference(backbone_name):
        return _by_name(layers)
    if backbone_name.startswith(("hub:", "own:")):
        return _by_resolution(layers)
    record = backbones.get(backbone_name)
    if record.parts:
        return _joined(layers, record.parts)
    if record.groups is None:
        return _by_resolution(layers)
    return _by_pattern(layers, record.groups, record.anchors)


def _joined(layers: Sequence[keras.layers.Layer], parts: Sequence[backbones.Backbone]) -> Groups:
    """Join the groups of backbones beside each other, counted from the output: the last group is the last of each."""
    ends = [backbones.suffix(number) for number in range(len(parts))]
    own = [[layer for layer in layers if (re.search(r"__\d$", layer.name) or [""])[0] == end] for end in ends]
    groups = [
        _by_resolution(members) if part.groups is None else _by_pattern(members, part.groups, part.anchors)
        for part, members in zip(parts, own)
    ]
    depth = max(map(len, groups))
    places = [[each[-place] for each in groups if place <= len(each)] for place in range(depth, 0, -1)]
    return [
        ("+".join(dict.fromkeys(name for name, _ in here)), [x for _, members in here for x in members])
        for here in places
    ]


def _by_pattern(layers: Sequence[keras.layers.Layer], patterns: Sequence[tuple[str, str]], anchors: str) -> Groups:
    """Group layers by the first matching pattern; a layer without a match joins the previous (or next) matched one."""
    matched = [_match(layer.name, patterns) for layer in layers]
    numbers = _after(layers, matched) if anchors == "previous" else _before(matched, len(patterns) - 1)
    groups: Groups = [(name, []) for name, _ in patterns]
    for layer, number in zip(layers, numbers):
        groups[number][1].append(layer)
    return [(name, members) for name, members in groups if members]


def _after(layers: Sequence[keras.layers.Layer], matched: Sequence[int | None]) -> list[int]:
    """Give unmatched layers the number of the matched one before them, but no lower number than their inputs."""
    numbers: dict[str, int] = {}
    current = 0
    for layer, found in zip(layers, matched):
        if found is not None:
            current = numbers[layer.name] = found
        else:
            inputs = layer.input if isinstance(layer.input, list) else [layer.input]
            feeding = [numbers.get(producer(x).name, 0) for x in inputs]
            numbers[layer.name] = max(current, *feeding)
    return list(numbers.values())


def _before(matched: Sequence[int | None], last: int) -> list[int]:
    """Give unmatched layers the number of the matched one after them."""
    numbers = []
    for found in reversed(matched):
        last = last if found is None else found
        numbers.append(last)
    return numbers[::-1]


def _match(name: str, patterns: Sequence[tuple[str, str]]) -> int | None:
    for number, (_, pattern) in enumerate(patterns):
        if re.match(pattern, name):
            return number
    return None


def _by_name(layers: Sequence[keras.layers.Layer]) -> Groups:
    """Group layers by the start of their names, ``GROUP_…``.

    Layers without weights follow the layer before them, and so does the ``head``, often a single normalization.
    """
    groups: Groups = []
    for layer in layers:
        name = layer.name.partition("_")[0]
        if not groups or (layer.weights and name not in (groups[-1][0], "head")):
            groups.append((name, []))
        groups[-1][1].append(layer)
    return groups


def _by_resolution(layers: Sequence[keras.layers.Layer]) -> Groups:
    """Start a new group wherever a feature map is smaller than any before it."""
    groups: Groups = []
    smallest: int | None = None
    for layer in layers:
        shape = layer.output.shape
        area = shape[1] * shape[2] if len(shape) == 4 and None not in shape[1:3] and shape[1] * shape[2] > 1 else None
        if not groups or (area is not None and smallest is not None and area < smallest):
            groups.append((f"stage{len(groups)}", []))
        if area is not None:
            smallest = area if smallest is None else min(smallest, area)
        groups[-1][1].append(layer)
    return groups
