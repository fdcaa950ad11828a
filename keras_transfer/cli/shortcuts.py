"""Short options for the settings that people change most: each stands for a key of the configuration.

``--epochs`` and ``--lr`` are those of the last phase. With automatic phases that is the one that fine-tunes, as in fastai's ``fine_tune``:
the head before it is solved and has neither.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from keras_transfer.errors import UserError


@dataclass(frozen=True)
class Shortcut:
    """A short option.

    Attributes:
        flag: the option.
        key: the configuration key that it sets.
        metavar: what stands for the value in the help.
        help: of the option.
        is_text: whether the value is a text as it stands; otherwise it is read as after ``--set``.
        others: what other programs call it, for "did you mean".
    """

    flag: str
    key: str
    metavar: str
    help: str
    is_text: bool = False
    others: tuple[str, ...] = ()

    @property
    def dest(self) -> str:
        """Its attribute in the parsed arguments."""
        return "shortcut_" + self.flag.strip("-").replace("-", "_")


SHORTCUTS = (
    Shortcut("--epochs", "phases.-1.epochs", "N", "epochs of the last phase, the fine-tuning (default: chosen from the data)",
             others=("--epoch", "--num-epochs", "--max-epochs", "--n-epochs")),
    Shortcut("--lr", "phases.-1.learning_rate", "RATE", "learning rate of the last phase; auto: found by a range test",
             others=("--learning-rate", "--lr0", "--base-lr")),
    Shortcut("--backbone", "model.backbone", "NAME", "pretrained network, e.g. resnet50 (default: the best of those at hand)",
             is_text=True, others=("--model", "--arch", "--architecture", "--model-name", "--network")),
    Shortcut("--weights", "model.weights", "WEIGHTS", "imagenet (default), none, or a weights file", is_text=True,
             others=("--pretrained", "--checkpoint")),
    Shortcut("--image-size", "data.image_size", "PIXELS", "side of the input, or HEIGHTxWIDTH (default: chosen from the images)",
             others=("--imgsz", "--img-size", "--size", "--img", "--input-size")),
    Shortcut("--batch-size", "data.batch_size", "N", "images per training step (default: chosen from the data)",
             others=("--batch", "--bs", "-b")),
    Shortcut("--seed", "seed", "N", "seed of splits, order and augmentation (default: 0)", others=("--random-state", "--random-seed")),
    Shortcut("--effort", "effort", "EFFORT", "quick, standard, best, or minutes for fine-tuning: how much is tried where no phases "
             "are given (default: standard)", others=("--time-limit", "--presets")),
    Shortcut("--reject-rate", "reject_rate", "SHARE", "recognize images of none of the classes; so many of the known ones may be rejected "
             "by mistake, e.g. 0.05 (default: every image gets a class)", others=("--ood", "--reject", "--unknown")),
    Shortcut("--unlabelled", "data.unlabelled", "DIR", "images without labels, which the head learns from too where out-of-fold "
             "predictions say that it helps", is_text=True, others=("--unlabeled", "--unlabeled-data", "--unlabelled-data")),
    Shortcut("--costs", "costs", "FILE.csv", "what mistakes cost: a line for each true class, a column for each predicted one",
             is_text=True, others=("--cost-matrix",)),
    Shortcut("--precision", "precision", "NAME", "float32, bfloat16 or float16 (default: the fastest here)",
             others=("--amp", "--fp16", "--dtype", "--half")),
    Shortcut("--workers", "data.workers", "N", "threads that prepare images (default: one a core, at most 8)",
             others=("--num-workers", "--threads", "-j")),
)  # fmt: skip
"""Option → key. ``--output`` (``output.dir``) and ``--backend`` (``backend``) have a meaning of their own in each command."""

KEYS = {each.flag: each.key for each in SHORTCUTS} | {"--output": "output.dir", "--backend": "backend"}

_SIZE = re.compile(r"\s*\[?\s*(\d+)\s*[x×,*]\s*(\d+)\s*\]?\s*")


def add(parser: argparse.ArgumentParser) -> None:
    """Add all short options as a group."""
    group = parser.add_argument_group("common settings", "short forms of --set KEY=VALUE")
    for each in SHORTCUTS:
        group.add_argument(each.flag, dest=each.dest, metavar=each.metavar, help=f"{each.help}; {each.key}")


def overrides(arguments: argparse.Namespace) -> list[str]:
    """Return ``KEY=VALUE`` for the short options that were given, and then those of ``--set``, which is the more exact."""
    given = [
        f"{each.key}={_value(each, getattr(arguments, each.dest))}"
        for each in SHORTCUTS
        if getattr(arguments, each.dest, None) is not None
    ]
    return [*given, *arguments.overrides]


def names_of_others() -> dict[str, str]:
    """Return what other programs call an option → what it is called here."""
    return {other: each.flag for each in SHORTCUTS for other in each.others}


def in_words_of_options(error: UserError, arguments: argparse.Namespace) -> UserError:
    """Return the error with the options that were given in place of their keys."""
    text = str(error)
    for each in SHORTCUTS:
        if getattr(arguments, each.dest, None) is not None:
            place, _, name = each.key.rpartition(".")
            for key in (each.key, f"{place}: {name}", re.sub(r"-1", r"\\d+", each.key)):
                pattern = key if "\\" in key else re.escape(key)
                text = re.sub(rf"(?m)^(?:--set )?{pattern}(?:\.\d+)?(?=: )", each.flag, text)
    return type(error)(text) if type(error) is UserError else error


def _value(shortcut: Shortcut, text: str) -> str:
    size = _SIZE.fullmatch(text) if shortcut.flag == "--image-size" else None
    if size:
        return f"[{size[1]}, {size[2]}]"
    if not text.strip():
        raise UserError(f"{shortcut.flag}: expected {shortcut.metavar}, got an empty value")
    return json.dumps(text) if shortcut.is_text else text


def nearest_flag(word: str, flags: Sequence[str]) -> str:
    """Return ``"; did you mean '--epochs'?"`` for an unknown option, or an empty string."""
    from keras_transfer.errors import nearest

    known = names_of_others()
    flag = word.partition("=")[0]
    return f"; did you mean {known[flag]!r}?" if known.get(flag) in flags else nearest(flag, flags)
