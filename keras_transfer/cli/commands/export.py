"""Export a trained model to other formats, and verify each file against the model."""

import argparse

from keras_transfer.cli import options
from keras_transfer.errors import EXIT_FAILED

EXAMPLES = (
    "keras-transfer export runs/flowers onnx",
    "keras-transfer export runs/flowers onnx openvino torch saved_model litert --output files/",
    "keras-transfer export model.keras onnx litert --precision int8",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    parser.add_argument("formats", nargs="+", metavar="FORMAT", help="onnx, openvino, torch, saved_model or litert")
    parser.add_argument("--output", metavar="DIR", help="folder for the files (default: export in the run)")
    parser.add_argument("--precision", default="float32", metavar="P", help="float32 (default), float16 or int8")
    parser.add_argument("--backend", metavar="NAME", help="export from this backend (default: one that can)")


def run(arguments: argparse.Namespace) -> int:
    """Write the files; fail if the output of one differs from the model's."""
    from keras_transfer.export import export

    rows = export(arguments.source, arguments.formats, output=arguments.output, precision=arguments.precision,
                  backend=arguments.backend)  # fmt: skip
    return 0 if all(row["agrees"] for row in rows) else EXIT_FAILED
