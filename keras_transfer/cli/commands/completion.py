"""Print a script that completes commands, options and names in your shell.

It is made by shtab from the options themselves. Bash and zsh load it from their start-up files.
"""

import argparse

from keras_transfer.cli import options

SHELLS = ("bash", "zsh", "fish", "tcsh")
EXAMPLES = (
    "keras-transfer completion bash --output ~/.local/share/bash-completion/completions/keras-transfer",
    "keras-transfer completion zsh --output ~/.zsh/_keras-transfer",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh, fish or tcsh")
    parser.add_argument("--output", metavar="FILE", help="write it here instead of printing it")


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.cli.complete import script

    options.write_or_print(script(arguments.root, arguments.shell), arguments.output)
