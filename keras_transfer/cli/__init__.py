"""The command line: ``keras-transfer COMMAND``, and the scripts of the same names.

Imports no framework until a command has parsed its arguments, so that ``--help`` is instant.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from keras_transfer.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, Interrupted, UserError

EXIT_BUG = 1


def main(argv: list[str] | None = None) -> int:
    """Run a command; return its exit status (0 done, 2 for what the user can fix, 130 interrupted, 1 a bug)."""
    arguments = parse(argv)
    _handle_termination()
    try:
        return arguments.run(arguments) or 0
    except UserError as error:
        if arguments.debug:
            traceback.print_exc()
        for line in str(error).splitlines() or ["unknown problem"]:
            print(f"error: {line}", file=sys.stderr)
        return EXIT_USER_ERROR
    except Interrupted as stop:
        print(f"interrupted; go on with: keras-transfer train --resume --output {stop.run}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone: not an error of ours, and nobody to tell
        return 0


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the arguments of a command; paths may also come after options, which argparse alone does not take."""
    parser = build_parser()
    arguments, left = parser.parse_known_args(argv)
    if left and (not hasattr(arguments, "paths") or any(word.startswith("-") for word in left)):
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    if left:
        arguments.paths = [*arguments.paths, *left]
    return arguments


def script(command: str) -> None:
    """Run ``command`` as a script of its own: ``python scripts/train.py …``."""
    sys.exit(main([command, *sys.argv[1:]]))


def _handle_termination() -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with contextlib.suppress(ValueError):  # outside the main thread signals are the caller's business
        signal.signal(signal.SIGTERM, interrupt)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    from keras_transfer import __version__

    parser = argparse.ArgumentParser(
        prog="keras-transfer",
        description="Transfer learning for image classification: the same on PyTorch, TensorFlow and JAX.",
    )
    parser.add_argument("--version", action="version", version=f"keras-transfer {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (define, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        define(command)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="RUN_OR_MODEL", help="a run directory or a model.keras file")


def _add_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backend", metavar="B", help="torch, tensorflow or jax (default: KERAS_BACKEND)")
    parser.add_argument("--device", metavar="D", help="auto, cpu, gpu or mps")


def _define_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="a YAML file, or the name of one in configs/")
    parser.add_argument("--data", metavar="DIR", help="train on this folder (or .csv, .txt list, .npz)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                        help="override a key of the configuration, e.g. data.batch_size=32 or phases.0.epochs=3")  # fmt: skip
    parser.add_argument("--output", metavar="DIR", help="run directory (default: runs/NAME-DATE-TIME)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the unfinished run in --output; --set changes its configuration",
    )
    parser.add_argument("--accept-changes", action="store_true",
                        help="with --resume: although configuration, versions or data are not as they were")  # fmt: skip
    _add_backend(parser)
    parser.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> int:
    from keras_transfer.config import load_config
    from keras_transfer.pipeline import train
    from keras_transfer.training.train import resume_run

    resume = None
    if arguments.resume:
        if not arguments.output:
            raise UserError("--resume needs --output RUN, the run directory to go on with")
        if arguments.config or arguments.data:
            raise UserError("--resume goes on with the run's own configuration: leave out CONFIG and --data")
        resume = resume_run(arguments.output)
        config = resume.read_config(arguments.overrides)
    elif arguments.accept_changes:
        raise UserError("--accept-changes is for --resume")
    else:
        config = load_config(arguments.config, arguments.overrides, arguments.data, arguments.output)
    run = train(config, backend=arguments.backend, device=arguments.device, resume=resume,
                accept_changes=arguments.accept_changes)  # fmt: skip
    print(f"run: {run.path}")
    return 0


def _define_lr_find(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="a YAML file, or the name of one in configs/")
    parser.add_argument("--data", metavar="DIR", help="sweep on this folder (or .csv, .txt list, .npz)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                        help="override a key of the configuration, e.g. phases.0.optimizer=sgd")  # fmt: skip
    parser.add_argument("--output", metavar="FILE.png", help="draw loss against learning rate")
    parser.add_argument("--json", metavar="FILE", help="also write the sweeps as JSON")
    _add_backend(parser)
    parser.set_defaults(run=_lr_find)


def _lr_find(arguments: argparse.Namespace) -> int:
    from keras_transfer.config import load_config
    from keras_transfer.lr_find import lr_find

    lr_find(load_config(arguments.config, arguments.overrides, arguments.data), output=arguments.output,
            json_file=arguments.json, backend=arguments.backend, device=arguments.device)  # fmt: skip
    return 0


def _define_evaluate(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--data", metavar="DIR", help="evaluate on this data instead of the run's own")
    parser.add_argument("--split", default="test", choices=("train", "val", "test", "all"), help="default: test")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    _add_backend(parser)
    parser.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from keras_transfer.inference import evaluate

    evaluate(arguments.source, data=arguments.data, split=arguments.split, json_file=arguments.json,
             backend=arguments.backend, device=arguments.device)  # fmt: skip
    return 0


def _define_predict(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="images, or folders of images")
    parser.add_argument("--top", type=_positive, default=3, metavar="K", help="classes to show an image (default: 3)")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", metavar="FILE", help="write the predictions as JSON")
    output.add_argument("--csv", metavar="FILE", help="write the predictions as CSV")
    parser.add_argument("--grid", metavar="FILE.png", help="draw the images with their predictions")
    _add_backend(parser)
    parser.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> int:
    from keras_transfer.inference import predict

    predict(arguments.source, arguments.paths, top=arguments.top, json_file=arguments.json, csv_file=arguments.csv,
            grid_file=arguments.grid, backend=arguments.backend, device=arguments.device)  # fmt: skip
    return 0


def _define_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="+", metavar="CONFIG_OR_RUN",
                        help="a YAML file, the name of one in configs/, or a finished run directory")  # fmt: skip
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                        help="override a key of all configurations, e.g. data.limit=1000")  # fmt: skip
    parser.add_argument("--output", default="runs/compare", metavar="DIR",
                        help="folder for the runs, the table and the image (default: runs/compare)")  # fmt: skip
    parser.add_argument("--backends", type=_words, default=(), metavar="A,B,…",
                        help="train each configuration on each of these (default: one, as train chooses)")  # fmt: skip
    parser.add_argument("--device", metavar="D", help="auto, cpu, gpu or mps")
    parser.add_argument("--accept-changes", action="store_true",
                        help="resume an unfinished run although versions or data are not as they were")  # fmt: skip
    parser.set_defaults(run=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    from keras_transfer.compare import compare

    report = compare(arguments.sources, arguments.overrides, output=arguments.output, backends=arguments.backends,
                     device=arguments.device, accept_changes=arguments.accept_changes)  # fmt: skip
    print(f"compare: {arguments.output}")
    lost = [row for row in report["runs"] if row["state"] != "finished"]
    if lost and all(row["state"] == "failed" for row in lost):
        raise UserError("\n".join(f"{row['name']}: {line}" for row in lost for line in row["problem"].splitlines()))
    return EXIT_BUG if lost else 0


def _define_export(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("formats", nargs="+", metavar="FORMAT", help="onnx, openvino, torch, saved_model or litert")
    parser.add_argument("--output", metavar="DIR", help="folder for the files (default: export in the run)")
    parser.add_argument("--precision", default="float32", metavar="P", help="float32 (default), float16 or int8")
    parser.add_argument("--backend", metavar="B", help="write from this one (default: one that can)")
    parser.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> int:
    from keras_transfer.export import export

    rows = export(arguments.source, arguments.formats, output=arguments.output, precision=arguments.precision,
                  backend=arguments.backend)  # fmt: skip
    return 0 if all(row["agrees"] for row in rows) else 1


def _define_parity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", nargs="?", metavar="CONFIG_OR_RUN", help="what to compare (default: quickstart)")
    parser.add_argument("--backends", default="", metavar="A,B,…", help="backends to compare (default: all installed)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                        help="override a key of the configuration, e.g. model.backbone=resnet50")  # fmt: skip
    parser.add_argument("--steps", type=_positive, default=20, help="training steps to compare (default: 20)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    parser.set_defaults(run=_parity)


def _parity(arguments: argparse.Namespace) -> int:
    from keras_transfer.parity import compare_backends

    backends = [name.strip() for name in arguments.backends.split(",") if name.strip()]
    report = compare_backends(
        arguments.source, backends, arguments.overrides, steps=arguments.steps, json_file=arguments.json
    )
    return 0 if report["agree"] else 1


def _define_benchmark(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run (default: all)")
    parser.add_argument("--json", metavar="FILE", help="also write everything as JSON, with hardware and versions")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="times that each rival is measured")
    for option in ("models", "backends", "precisions"):
        parser.add_argument(f"--{option}", type=_words, metavar="A,B,…", help=f"only these {option}")
    parser.add_argument("--rivals", type=_words, metavar="A,B,…", help="only rivals whose name contains one of these")
    parser.add_argument("--batch", type=_positive, metavar="N", help="images a batch")
    parser.add_argument("--size", type=_positive, metavar="PX", help="side of the images")
    for option in ("images", "epochs"):
        parser.add_argument(f"--{option}", type=_positive, metavar="N", help=f"number of {option}")
    parser.add_argument("--workers", type=_positive, metavar="N", help="threads or processes that prepare images")
    parser.set_defaults(run=_benchmark)


def _benchmark(arguments: argparse.Namespace) -> int:
    from keras_transfer.benchmark import run_benchmarks

    options = ("rounds", "models", "backends", "precisions", "rivals", "batch", "size", "images", "epochs", "workers")
    given = {name: getattr(arguments, name) for name in options}
    return 0 if run_benchmarks(arguments.names, given, json_file=arguments.json) else 1


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _define_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="DATA", help="folder, .txt list, .csv, .npz, or a configuration")
    parser.add_argument("--json", metavar="FILE", help="also write the findings as JSON")
    parser.add_argument("--sheet", metavar="FILE.png", help="draw the images that the findings are about")
    parser.add_argument("--run", metavar="RUN", dest="judge", help="a run whose model looks for likely label errors")
    _add_backend(parser)
    parser.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from keras_transfer.doctor import doctor

    doctor(arguments.source, run=arguments.judge, json_file=arguments.json, sheet_file=arguments.sheet,
           backend=arguments.backend, device=arguments.device)  # fmt: skip
    return 0


def _define_explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", choices=("gradcam", "occlusion", "top-losses", "residuals"), metavar="METHOD",
                        help="gradcam, occlusion, top-losses (the images that it gets most wrong) or residuals (what "
                        "the blocks of a residual network add)")  # fmt: skip
    _add_model(parser)
    parser.add_argument("paths", nargs="*", metavar="PATH",
                        help="images or folders (default: the run's own); for top-losses a data source")  # fmt: skip
    parser.add_argument("--output", metavar="FILE.png", help="the image to write (default: METHOD.png)")
    parser.add_argument("--count", type=_positive, default=12, metavar="N", help="most images to show (default: 12)")
    parser.add_argument("--split", default="test", choices=("train", "val", "test", "all"),
                        help="of the run's own data (default: test)")  # fmt: skip
    parser.add_argument("--class", dest="class_name", metavar="NAME", help="explain this class (default: the first)")
    parser.add_argument(
        "--layer", metavar="NAME", help="whose features Grad-CAM shows (default: the last); for residuals a block"
    )
    parser.add_argument("--json", metavar="FILE", help="for residuals: also write the table as JSON")
    _add_backend(parser)
    parser.set_defaults(run=_explain)


def _explain(arguments: argparse.Namespace) -> int:
    from keras_transfer.explain.command import explain

    output = arguments.output or f"{arguments.method}.png"
    explain(arguments.method, arguments.source, arguments.paths, output, count=arguments.count,
            split=arguments.split, class_name=arguments.class_name, layer=arguments.layer, json_file=arguments.json,
            backend=arguments.backend, device=arguments.device)  # fmt: skip
    return 0


def _define_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="RUN", help="a finished run directory")
    _add_backend(parser)
    parser.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> int:
    from keras_transfer.report.command import report

    report(arguments.source, backend=arguments.backend, device=arguments.device)
    return 0


def _define_serve(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this computer)")
    parser.add_argument("--port", type=int, default=7860, help="default: 7860; 0 takes a free one")
    parser.add_argument("--corrections", metavar="DIR", help="where to keep corrections (default: beside the model)")
    parser.add_argument("--max-upload", type=float, default=10, metavar="MIB", help="largest file (default: 10)")
    _add_backend(parser)
    parser.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    from keras_transfer.serve.server import serve

    serve(arguments.source, host=arguments.host, port=arguments.port, corrections=arguments.corrections,
          max_upload=arguments.max_upload, backend=arguments.backend, device=arguments.device)  # fmt: skip
    return 0


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 up, got {text!r}")
    return number


Command = tuple[Callable[[argparse.ArgumentParser], None], str]
COMMANDS: dict[str, Command] = {
    "train": (_define_train, "Train a classifier on a folder of images or by a configuration."),
    "lr-find": (_define_lr_find, "Find learning rates: train for some steps at growing rates, keeping nothing."),
    "evaluate": (_define_evaluate, "Measure a trained model on a data set."),
    "predict": (_define_predict, "Classify images with a trained model."),
    "explain": (
        _define_explain,
        "Draw what speaks for a class, what the model gets most wrong, or what residual blocks add.",
    ),
    "report": (_define_report, "Write the page of a run that was trained before."),
    "serve": (_define_serve, "Serve a page and a JSON endpoint for a model, on this computer."),
    "export": (_define_export, "Write a trained model for another runtime, and prove the file equal."),
    "compare": (_define_compare, "Train configurations one after the other, and set runs beside each other."),
    "parity": (_define_parity, "Check that the backends compute the same, number by number."),
    "benchmark": (_define_benchmark, "Measure speed beside that of other ways to do the same."),
    "doctor": (_define_doctor, "Look a data set over: bad files, duplicates, leakage, likely label errors."),
}
