"""Inference: logits of batches in memory, images per second.

Hand-written PyTorch runs under `inference_mode`, Keras by `predict_on_batch`; OpenVINO runs the converted hand-written PyTorch
model in the precision of the case. Frozen features are the output of all but the last layer, computed by the engine that a
phase would use, several batches at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import repeat

from benchmarks import contenders
from benchmarks.contenders import finish, keras_classifier, pixels, throughput, torch_module
from benchmarks.harness import Case, Options, Rival
from keras_transfer.errors import UserError


def cases(options: Options) -> list[Case]:
    found = contenders.cases(options, __name__, ("OpenVINO",))
    return [replace(case, rivals=(*case.rivals, *_of_features(case))) for case in found]


def _of_features(case: Case) -> list[Rival]:
    """Return, for each keras_transfer rival, one that computes frozen features as a phase does."""
    return [
        replace(
            rival,
            name=f"{rival.name}, frozen features",
            build=f"{__name__}:features",
            arguments={key: rival.arguments[key] for key in ("model", "precision", "size", "backend")},
            against=("OpenVINO",),
            goal=0.85,
        )
        for rival in case.rivals
        if rival.name.startswith("keras_transfer")
    ]


def by_hand(model: str, precision: str, batch: int, size: int, compiled: bool) -> Callable[[], float]:
    torch, module, device = torch_module(model, compiled)
    images = torch.from_numpy(pixels(batch, size)[0])
    module.eval()

    def step(count: int) -> None:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            for _ in range(count):
                module(images.to(device).permute(0, 3, 1, 2)).float().cpu()
        finish(torch, device)

    return throughput(step, batch)


def openvino(model: str, precision: str, batch: int, size: int) -> Callable[[], float]:
    try:
        import openvino
    except ImportError:
        raise UserError("needs openvino: pip install openvino") from None
    torch, module, _ = torch_module(model, compiled=False)
    images = pixels(batch, size)[0].transpose(0, 3, 1, 2).copy()
    converted = openvino.convert_model(module.cpu().eval(), example_input=torch.from_numpy(images))
    converted.reshape(list(images.shape))
    hints = {"INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision]}
    request = openvino.Core().compile_model(converted, "CPU", hints).create_infer_request()

    def step(count: int) -> None:
        for _ in range(count):
            request.infer([images])

    return throughput(step, batch)


def with_keras(model: str, precision: str, batch: int, size: int, backend: str, ours: bool) -> Callable[[], float]:
    classifier = keras_classifier(model, size, precision, backend, ours)
    images = pixels(batch, size)[0]

    def step(count: int) -> None:
        for _ in range(count):
            classifier.predict_on_batch(images)

    return throughput(step, batch)


def features(model: str, precision: str, size: int, backend: str) -> Callable[[], float]:
    classifier = keras_classifier(model, size, precision, backend, ours=True)
    from keras_transfer.engine.extractors import BATCH_SIZE, choose_extractor
    from keras_transfer.engine.prefix import find_cut
    from keras_transfer.models.freeze import apply_train

    apply_train(classifier, model, "head", batch_norm="frozen")
    cut = find_cut(classifier)
    assert cut is not None
    extractor = choose_extractor(cut.prefix, precision, True, print)
    images = pixels(BATCH_SIZE, size)[0]

    def step(count: int) -> None:
        for _ in extractor.compute(repeat(images, count)):
            pass

    return throughput(step, BATCH_SIZE)
