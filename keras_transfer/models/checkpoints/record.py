"""What the files beside a checkpoint's weights say about it: architecture, preprocessing, licence, classes.

timm writes everything into ``config.json``; transformers writes the preprocessing into ``preprocessor_config.json``, and the licence stands
only in the model card (``README.md``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from keras_transfer.errors import UserError
from keras_transfer.models.checkpoints.processor import scaling, three

_MAX_BYTES = 4 << 20
_HALF = (0.5, 0.5, 0.5)
UNKNOWN = "unknown: see the model's page"
# Of weights whose config.json does not tell.
_LICENCES = {"dinov3": "dinov3-license", "convnextv2": "cc-by-nc-4.0"}
_PERMISSIVE = ("apache", "mit", "bsd", "isc", "cc0", "cc-by-4", "unlicense")
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # numbers of Pillow


class Unsupported(UserError):
    """A checkpoint differs from its architecture in an option that its family does not have; it need not be damaged."""


@dataclass(frozen=True)
class Facts:
    """Facts about a checkpoint.

    Attributes:
        library: ``"timm"`` or ``"transformers"``: whose names the tensors have.
        architecture: timm's name of the model without its tag, or transformers' ``model_type``.
        config: ``config.json``; for a tower of transformers' two-tower models the whole of it.
        mean: per channel of pixels 0..1.
        std: the same.
        bgr: whether the network takes the channels blue, green, red, in whose order mean and std then are.
        image_size: (height, width) in pixels of the pretraining or evaluation.
        interpolation: how images were resized: ``"bicubic"``, ``"bilinear"``, …; ``""``: not stated.
        crop_pct: share of an image's side that evaluation keeps; 1.0 where it is not stated.
        licence: of the weights, as stated.
        class_names: of the checkpoint's own classifier; empty: none or not stated.
    """

    library: str
    architecture: str
    config: Mapping[str, Any] = field(repr=False)
    mean: tuple[float, float, float] = _HALF
    std: tuple[float, float, float] = _HALF
    bgr: bool = False
    image_size: tuple[int, int] = (224, 224)
    interpolation: str = ""
    crop_pct: float = 1.0
    licence: str = UNKNOWN
    class_names: tuple[str, ...] = field(default=(), repr=False)


def is_permissive(licence: str) -> bool:
    """Return whether a licence is known to allow any use, with attribution at most."""
    name = licence.casefold()
    return name.startswith(_PERMISSIVE) and "-nc" not in name and "-nd" not in name


def read_facts(folder: Path) -> Facts:
    """Read the facts about the checkpoint in a folder.

    Raises:
        UserError: ``config.json`` is missing, damaged or of neither library, or states impossible values.
    """
    config = _read_json(folder / "config.json", required=True)
    if config.get("model_type") == "timm_wrapper" or isinstance(config.get("architecture"), str):
        return _timm(folder, config)
    if isinstance(config.get("model_type"), str):
        return _transformers(folder, config)
    raise UserError(
        f"{str(folder / 'config.json')!r}: expected timm's 'architecture' or transformers' 'model_type', found neither"
    )


def _timm(folder: Path, config: dict[str, Any]) -> Facts:
    architecture = config.get("architecture")
    if not isinstance(architecture, str):
        raise UserError(f"{str(folder / 'config.json')!r}: timm_wrapper without 'architecture'")
    stated = config.get("pretrained_cfg", config)  # timm before 0.9 wrote one level
    stated = stated if isinstance(stated, dict) else {}
    where = str(folder / "config.json")
    input_size, args = stated.get("input_size"), config.get("model_args")
    _check_channels(args.get("in_chans") if isinstance(args, dict) else None, where)
    _check_channels(input_size[0] if isinstance(input_size, list) and len(input_size) == 3 else None, where)
    size = stated.get("test_input_size") if config.get("use_test_size") else stated.get("input_size")
    names = config.get("label_names") or stated.get("label_names") or stated.get("labels")
    architecture = architecture.partition(".")[0]
    return Facts(
        library="timm",
        architecture=architecture,
        config=config,
        mean=three(stated.get("mean", (0.485, 0.456, 0.406)), "mean", where),
        std=three(stated.get("std", (0.229, 0.224, 0.225)), "std", where, positive=True),
        image_size=_size(size[1:] if isinstance(size, (list, tuple)) and len(size) == 3 else size, where),
        interpolation=str(stated.get("interpolation", "")),
        crop_pct=_fraction(stated.get("crop_pct"), where),
        licence=_licence(folder, stated.get("license"), architecture),
        class_names=tuple(map(str, names)) if isinstance(names, list) else (),
    )


def _transformers(folder: Path, config: dict[str, Any]) -> Facts:
    model_type = config["model_type"]
    tower = config.get("vision_config")
    tower = tower if isinstance(tower, dict) else config
    _check_channels(tower.get("num_channels"), str(folder / "config.json"))
    names = (
        "preprocessor_config.json",
        "processor_config.json",
    )  # the second: beside a tokenizer's, since transformers 5
    where = str(folder / next((name for name in names if (folder / name).is_file()), names[0]))
    stated = _read_json(Path(where))
    stated = stated.get("image_processor", stated)
    if not isinstance(stated, dict):
        raise UserError(f"{where!r}: image_processor: expected an object, found {type(stated).__name__}")
    size = stated.get("crop_size") if stated.get("do_center_crop", True) else None
    size = size or stated.get("size") or tower.get("image_size")
    if isinstance(size, dict) and "height" not in size:
        size = tower.get("image_size") if "shortest_edge" not in size else size["shortest_edge"]
    if isinstance(size, dict):
        size = (size.get("height"), size.get("width", size.get("height")))
    mean, std, bgr = scaling(stated, model_type, where)
    edge, resample = stated.get("size"), stated.get("resample")
    edge = edge.get("shortest_edge") if isinstance(edge, dict) else None
    size = _size(size, where)
    id2label = config.get("id2label")
    labels = tuple(map(str, id2label.values())) if isinstance(id2label, dict) else ()
    return Facts(
        library="transformers",
        architecture=model_type,
        config=config,
        mean=mean,
        std=std,
        bgr=bgr,
        image_size=size,
        interpolation=_RESAMPLE.get(resample, "") if isinstance(resample, int) else "",
        crop_pct=min(1.0, min(size) / edge) if isinstance(edge, int) and edge > 0 else 1.0,
        licence=_licence(folder, None, model_type),
        class_names=() if all(label.startswith("LABEL_") for label in labels) else labels,
    )


def _read_json(path: Path, required: bool = False) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UserError(f"{str(path)!r} has {path.stat().st_size} bytes, expected at most {_MAX_BYTES}")
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        if required:
            raise UserError(f"{str(path)!r} does not exist") from error
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {str(path)!r}: {' '.join(str(error).split())[:160]}") from error
    if not isinstance(found, dict):
        raise UserError(f"{str(path)!r}: expected a JSON object, found {type(found).__name__}")
    return found


def _check_channels(value: object, where: str) -> None:
    if value not in (None, 3):
        raise UserError(f"{where!r}: expected a network of pictures with 3 channels, got {str(value)[:40]}")


def _size(value: object, where: str) -> tuple[int, int]:
    if value is None:
        return 224, 224
    pair = (value, value) if isinstance(value, int) else value
    if isinstance(pair, (list, tuple)) and len(pair) == 2 and all(type(v) is int and 0 < v <= 4096 for v in pair):
        return pair[0], pair[1]
    raise UserError(f"{where!r}: image size: expected pixels, 1..4096, got {str(value)[:80]}")


def _fraction(value: object, where: str) -> float:
    if value is None:
        return 1.0
    if isinstance(value, (int, float)) and 0 < value <= 2:
        return float(value)
    raise UserError(f"{where!r}: crop_pct: expected a number above 0, got {str(value)[:80]}")


def _licence(folder: Path, stated: object, architecture: str) -> str:
    card = _card(folder / "README.md")
    found = stated or card.get("license_name") or card.get("license")
    if isinstance(found, str) and found.strip() and found != "other":
        return " ".join(found.split())[:100]
    return next((name for start, name in _LICENCES.items() if start in architecture), UNKNOWN)


def _card(path: Path) -> dict[str, Any]:
    """Return the head of a model card (YAML between two lines of dashes); empty if there is none."""
    try:
        text = path.read_bytes()[: 1 << 16].decode("utf-8", "replace")
        if not text.startswith("---"):
            return {}
        found = yaml.safe_load(text[3:].partition("\n---")[0])
    except (OSError, yaml.YAMLError, RecursionError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
