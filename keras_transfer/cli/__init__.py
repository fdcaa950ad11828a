"""The command line: ``keras-transfer COMMAND``, and the scripts of the same names.

Parsing imports the standard library only: a command imports its work when it runs, so that ``--help`` is instant.
"""

from keras_transfer.cli.app import build_parser, main, script
from keras_transfer.cli.commands import COMMANDS

__all__ = ["COMMANDS", "build_parser", "main", "script"]
