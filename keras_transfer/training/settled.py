"""The configuration that a training would use, as far as it is known before anything is computed."""

from __future__ import annotations

from keras_transfer import runtime
from keras_transfer.config.load import dump
from keras_transfer.config.open_data import open_data
from keras_transfer.config.schema import RunConfig
from keras_transfer.data.statistics import describe
from keras_transfer.policy import procedure
from keras_transfer.policy.resolve import Machine, resolve

BY_EVIDENCE = ("model.backbone", "model.taps", "phases", "data.augment")
"""Keys that cross-validation, or a probe of the images, decides when training begins."""


def settled(config: RunConfig, *, backend: str | None = None, device: str | None = None) -> str:
    """Return a configuration as YAML with every ``auto`` replaced that needs no computation, and the reasons as comments.

    Args:
        config: as the user gave it.
        backend: overrides ``KERAS_BACKEND`` and the configuration.
        device: overrides the configuration.

    Raises:
        UserError: what a training with this configuration would refuse before it computes anything.
    """
    choice = runtime.choose_backend(backend, config.backend)
    config = config.model_copy(update={"backend": backend or config.backend, "device": device or config.device})
    data = open_data(config)
    runtime.activate(choice.value, config.device, config.deterministic)
    resolved = resolve(config, data, Machine.of(config, choice), probe=False)
    later = [key for key in BY_EVIDENCE if _is_open(config, key)] if procedure.is_judged(config, describe(data)) else []
    tree = resolved.model_dump(exclude={"decisions"})
    given = config.model_dump()
    for key in later:
        section, _, name = key.rpartition(".")
        (tree[section] if section else tree)[name] = (given[section] if section else given)[name]
    lines = [f"# {one}" for one in resolved.decisions if not _below(one.key, later)]
    if later:
        lines.append(f"# decided by cross-validation when training begins: {', '.join(later)}")
    return "\n".join(lines) + "\n" + dump(RunConfig.model_validate(tree))


def _is_open(config: RunConfig, key: str) -> bool:
    if key == "phases":
        return not isinstance(config.phases, tuple)
    section, _, name = key.rpartition(".")
    return bool(getattr(getattr(config, section), name) == "auto")


def _below(key: str, keys: list[str]) -> bool:
    return any(f"{key}.".startswith(f"{one}.") for one in keys)
