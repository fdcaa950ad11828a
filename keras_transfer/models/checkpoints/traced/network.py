"""The networks of timm and transformers themselves, with the weights of a checkpoint: what a program is traced from.

Both libraries build them from the configuration; no code of the checkpoint is run, and only safetensors files are read. Before anything is
built, the numbers of the configuration are compared with the tensors, so that a hostile one cannot ask for more than the files hold.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from keras_transfer.errors import UserError
from keras_transfer.models.checkpoints.record import Facts
from keras_transfer.models.checkpoints.tensors import Part

if TYPE_CHECKING:
    import torch

_LOCK = threading.Lock()
# Of what timm is told: where to load from is not for a checkpoint to say.
_NOT_OF_NETWORKS = re.compile("pretrained|checkpoint|cache|feature|out_indices|script|export|no_jit")
_STATED = (
    "architecture",
    "tag",
    "num_classes",
    "input_size",
    "fixed_input_size",
    "pool_size",
    "first_conv",
    "classifier",
)
_NOT_SIZES = ("id2label", "label2id", "pretrained_cfg", "vocab_size")  # of what is built
_LARGEST = 4096  # a number that any configuration may have


def obstacle(facts: Facts) -> str:
    """Return why the library that a checkpoint is for cannot build it here; ``""``: it can."""
    for name in ("torch", facts.library):
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed: pip install 'keras_transfer[{facts.library}]'"
    try:
        known = _knows_timm(facts) if facts.library == "timm" else _model_class(facts) is not None
    except (ImportError, RuntimeError, OSError) as error:  # a torchvision of another build than torch, for one
        return f"{facts.library} cannot be imported: {' '.join(str(error).split())[:120]}"
    return "" if known else f"{facts.library} has no image network of this name"


def features_of(checkpoint: Part, size: tuple[int, int]) -> torch.nn.Module:
    """Return the network that computes a checkpoint's features: images (batch, 3, height, width) to (batch, channels).

    Raises:
        UserError: the weights do not fit, or the network takes no images of this size.
    """
    _check_numbers(checkpoint)
    checkpoint.tensors.check_types(("I64", "I32", "BOOL"))  # tables, counters and masks; PyTorch would cast any type
    try:
        made = _of_timm(checkpoint, size) if checkpoint.facts.library == "timm" else _of_transformers(checkpoint)
    except UserError:
        raise
    except Exception as error:  # each library raises its own
        text = " ".join(str(error).split())[:200]
        raise UserError(
            f"{checkpoint.facts.library} cannot build {checkpoint.facts.architecture!r} at {size[0]}x{size[1]} pixels from"
            f" {str(checkpoint.tensors.folder)!r}: {text}"
        ) from error
    checkpoint.tensors.leave("")  # the library has taken each, or refused
    return made


def _check_numbers(checkpoint: Part) -> None:
    """Refuse a configuration with numbers that no tensor has."""
    shapes = [checkpoint.tensors.shape(key) for key in checkpoint.tensors]
    most = max([_LARGEST, len(shapes), *(4 * side for shape in shapes for side in shape)])
    config = checkpoint.facts.config
    given = [config.get("model_args"), config.get("num_classes")] if checkpoint.facts.library == "timm" else config
    odd = next((number for number in _numbers(given) if abs(number) > most), None)
    if odd is not None:
        raise UserError(
            f"the config.json in {str(checkpoint.tensors.folder)!r} does not fit its tensors: it has the number {odd}"
        )


def _numbers(given: Any) -> Iterator[int]:
    stack = [given]
    while stack:
        one = stack.pop()
        if isinstance(one, Mapping):
            stack += [value for key, value in one.items() if key not in _NOT_SIZES]
        elif isinstance(one, (list, tuple)):
            stack += one
        elif isinstance(one, int):
            yield one


@functools.cache
def _torchvision() -> Any:
    """Make a torchvision of another build than torch importable, which timm imports: no network needs its kernels, only two of their names."""
    import torch

    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:
        if "torchvision::nms" not in str(error):
            return None
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library  # its names are gone when it is
    return None


def _knows_timm(facts: Facts) -> bool:
    _torchvision()
    import timm

    return bool(timm.is_model(facts.architecture))


def _of_timm(checkpoint: Part, size: tuple[int, int]) -> torch.nn.Module:
    import timm
    import torch

    config = checkpoint.facts.config
    args = dict(config.get("model_args") or {})
    for key in ("num_classes", "global_pool"):
        if config.get(key) is not None:
            args.setdefault(key, config[key])
    odd = next((key for key in args if not isinstance(key, str) or _NOT_OF_NETWORKS.match(key)), None)
    if odd is not None:
        raise UserError(
            f"the config.json in {str(checkpoint.tensors.folder)!r} has model_args {str(odd)[:60]!r}: not of a network"
        )
    stated = config.get("pretrained_cfg", config)
    stated = {key: stated[key] for key in _STATED if key in stated} if isinstance(stated, Mapping) else {}
    weights = checkpoint.tensors.everything()
    stated["state_dict"] = {key: torch.from_numpy(values) for key, values in weights.items()}  # and no other source
    stated["num_classes"] = args.get("num_classes", stated.get("num_classes", 1000))
    args.pop("img_size", None)
    name, options = checkpoint.facts.architecture, {**args, "pretrained": True, "pretrained_cfg": stated}
    try:
        network = timm.create_model(name, img_size=size, **options)
    except TypeError as error:  # convolutional networks take images of any size, and no such argument
        if "img_size" not in str(error):
            raise
        network = timm.create_model(name, **options)
    return _wrapped(network, lambda made, x: made.forward_head(made.forward_features(x), pre_logits=True))


def _model_class(facts: Facts) -> Any:
    """Return the class of transformers that a checkpoint was saved as, or that of its features."""
    _torchvision()
    import transformers

    named = facts.config.get("architectures")
    for name in named if isinstance(named, list) else ():
        found = getattr(transformers, name, None) if isinstance(name, str) else None
        if found is not None and name.endswith("ForImageClassification"):
            return found
    try:
        config = transformers.AutoConfig.for_model(facts.architecture)
    except (ValueError, KeyError):
        return None
    mapping = transformers.AutoModel._model_mapping
    if type(config) not in mapping or getattr(mapping[type(config)], "main_input_name", "") != "pixel_values":
        return None  # unknown, or of text or sound
    return transformers.AutoModel


def _of_transformers(checkpoint: Part) -> torch.nn.Module:
    import torch

    kind, folder = _model_class(checkpoint.facts), checkpoint.tensors.folder
    if "quantization_config" in checkpoint.facts.config or (folder / "adapter_config.json").exists():
        raise UserError(
            f"the checkpoint in {str(folder)!r} is quantized, or an adapter: expected a network with all its weights"
        )
    with _quiet():
        network, told = kind.from_pretrained(
            str(folder),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # those are refused below, by name
            output_loading_info=True,
            dtype=torch.float32,
        )
    for what in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if told.get(what):
            first = sorted(map(str, told[what]))[0]
            raise UserError(
                f"the checkpoint in {str(checkpoint.tensors.folder)!r} has {what.replace('_', ' ')}: {first[:100]}"
            )
    return _wrapped(network, _without_classifier(network))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing bars and tables; one thread at a time, since the switches are the whole process's."""
    from transformers.utils import logging

    with _LOCK:
        bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
        logging.disable_progress_bar()
        logging.set_verbosity(logging.CRITICAL)
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()


def _without_classifier(network: torch.nn.Module) -> Any:
    """Return a function of network and images: what the classifier reads, or the pooled output, or the mean of the last state."""
    import torch

    count, last = getattr(network.config, "num_labels", None), []
    for path, module in network.named_modules():
        if (
            isinstance(module, torch.nn.Linear)
            and module.out_features == count
            and re.search(r"classif|head|fc\b", path)
        ):
            last.append(path)
    if not type(network).__name__.endswith("ForImageClassification") or not last:
        return _pooled
    for path in last:
        network.set_submodule(path, torch.nn.Identity())
    return lambda made, x: made(x).logits


def _pooled(network: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    made = network(x)
    pooled = getattr(made, "pooler_output", None)
    state = made.last_hidden_state if pooled is None else pooled
    if state.ndim == 4:
        return state.mean((2, 3))
    return state.mean(1) if state.ndim == 3 else state


def _wrapped(network: torch.nn.Module, call: Any) -> torch.nn.Module:
    import torch

    class Features(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = call(self.network, x)
            return found.flatten(1) if found.ndim > 2 and found.shape[2:].numel() == 1 else found

    return Features().eval()
