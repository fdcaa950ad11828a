"""How to reproduce the run."""

from __future__ import annotations

import shlex
from typing import Any

from keras_transfer.config.resolved import Decision
from keras_transfer.report.run_view import RunView
from keras_transfer.runtime import BACKENDS


def make(view: RunView) -> dict[str, Any]:
    """The variables of ``repeat.html``."""
    manifest, path = view.manifest, view.run.path
    others = {"python", "keras_transfer", *BACKENDS} - {manifest["backend"]["name"]}
    # Not every index has local versions like 2.9.0+cpu.
    packages = [
        f"{name}=={version.partition('+')[0]}" for name, version in manifest["versions"].items() if name not in others
    ]
    return {
        "commands": [
            ("Train again", _command("train", path / "config.yaml", "--output", f"{path}-again")),
            ("Evaluate again", _command("evaluate", path)),
            ("Classify other images", _command("predict", path, "IMAGE.jpg")),
            ("Write this report again", _command("report", path)),
        ],
        "versions": manifest["versions"],
        "packages": shlex.join(packages),
        "hardware": manifest["hardware"],
        "backend": manifest["backend"],
        "device": manifest["device"],
        "precision": manifest["precision"],
        "seed": manifest["seed"],
        "licence": manifest.get("licence", ""),
        "deterministic": view.config.deterministic,
        "chosen": [_shown(item) for item in manifest.get("chosen", [])],
        "changes": manifest.get("changes", []),
        "config": view.run.config.read_text(encoding="utf-8"),
    }


def _shown(item: Any) -> str:
    return str(Decision(**item)) if isinstance(item, dict) else str(item)  # version 0.1 stored text


def _command(*words: object) -> str:
    return shlex.join(["keras-transfer", *map(str, words)])
