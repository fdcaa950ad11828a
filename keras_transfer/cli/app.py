"""The parser of all commands; running one, and turning its errors into exit statuses."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
import traceback
from collections.abc import Sequence

from keras_transfer import text
from keras_transfer.cli.commands import COMMANDS
from keras_transfer.cli.parser import Parser
from keras_transfer.distribute.place import is_follower, place, resume_command
from keras_transfer.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, Interrupted, UserError, denied

_PATIENCE = 10.0
"""Seconds in which process 0 of several may report an error that all of them have."""
EXAMPLES = (
    "keras-transfer train photos/",
    "keras-transfer train photos/ --backbone resnet50 --image-size 224 --batch-size 32 --epochs 5 --lr 1e-4",
    "keras-transfer predict runs/photos-20250101-120000 new.jpg",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; without arguments, list the commands.

    Returns:
        0: success; 1: the command ran, but its result is negative (backends differ, a run failed …); 2: an error that
        the user can fix; 130: interrupted. A bug raises, which makes Python exit with 1.
    """
    text.never_fail()
    words = sys.argv[1:] if argv is None else argv
    if not words:
        build_parser().print_help()
        return 0
    arguments = _parse(words)
    arguments.words = list(words)
    with contextlib.suppress(ValueError):  # outside the main thread, signals are the caller's business
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # raises KeyboardInterrupt
    try:
        return _run(arguments)
    except UserError as error:
        if arguments.debug:
            traceback.print_exc()
        if getattr(error, "of_process_0", False):
            return EXIT_USER_ERROR
        who = _after_process_0("process 0 " in str(error))
        for line in str(error).splitlines() or ["unknown problem"]:
            text.complain(f"{who}error: {line}")
        return EXIT_USER_ERROR
    except Interrupted as stop:
        if not is_follower():
            text.complain(f"interrupted; resume with: {resume_command(stop.run)}")
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        if not is_follower():
            print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; Python would complain again at exit
        return 0


def _run(arguments: argparse.Namespace) -> int:
    try:
        return arguments.command.run(arguments) or 0
    except PermissionError as error:
        raise denied(error) from error


def _after_process_0(gone: bool) -> str:
    """Return what to put before an error: nothing, or the number of this process if process 0 has not ended by the same error meanwhile.

    Args:
        gone: whether process 0 is known to have ended.
    """
    try:
        here = place()
    except UserError:  # the error itself
        return ""
    if here is None or here.is_main:
        return ""
    if not gone:
        time.sleep(_PATIENCE)  # the launcher ends this process as soon as another has failed
    return f"process {here.rank} of {here.size}: "


def script(command: str) -> None:
    """Run ``command`` with the arguments of this process and exit: the body of ``scripts/*.py``."""
    sys.exit(main([command, *sys.argv[1:]]))


def build_parser() -> Parser:
    """Build the parser of all commands."""
    from keras_transfer import __version__

    parser = Parser(
        prog="keras-transfer",
        description="Transfer learning for image classification: the same on PyTorch, TensorFlow and JAX.",
        epilog="\n  ".join(
            ["examples:", *EXAMPLES, "", "keras-transfer COMMAND --help shows the options of a command."]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"keras-transfer {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        about = command.__doc__ or ""
        added = commands.add_parser(
            name,
            help=about.partition("\n")[0],
            description=about,
            epilog="\n  ".join(["examples:", *command.EXAMPLES]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_options(added)
        added.add_argument("--debug", action="store_true", help="show the traceback of an error")
        added.set_defaults(command=command, parser=added, root=parser)
    return parser


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse arguments; ``paths`` may also follow options, which argparse does not support with subcommands."""
    arguments, left = build_parser().parse_known_args(words)
    if left and (not hasattr(arguments, "paths") or any(word.startswith("-") for word in left)):
        arguments.parser.refuse([word for word in left if word.startswith("-")] or left)
    if left:
        arguments.paths = [*arguments.paths, *left]
    return arguments
