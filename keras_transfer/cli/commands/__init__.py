"""The commands: one module each, one line here.

A command is a module with

- a docstring, whose first line is its help text,
- ``EXAMPLES``: command lines that ``--help`` shows,
- ``add_options(parser)``,
- ``run(arguments)``, which imports what it needs and may return an exit status.
"""

from types import ModuleType

from keras_transfer.cli.commands import (
    add_class,
    backbones,
    benchmark,
    compare,
    completion,
    config,
    doctor,
    embed,
    evaluate,
    explain,
    export,
    lr_find,
    merge_classes,
    parity,
    predict,
    regression,
    remove_class,
    rename_class,
    report,
    retrain,
    serve,
    shard,
    suggest,
    sweep,
    train,
)

COMMANDS: dict[str, ModuleType] = {
    "train": train,
    "lr-find": lr_find,
    "config": config,
    "evaluate": evaluate,
    "predict": predict,
    "embed": embed,
    "explain": explain,
    "report": report,
    "serve": serve,
    "retrain": retrain,
    "add-class": add_class,
    "remove-class": remove_class,
    "rename-class": rename_class,
    "merge-classes": merge_classes,
    "regression": regression,
    "suggest": suggest,
    "export": export,
    "compare": compare,
    "sweep": sweep,
    "parity": parity,
    "benchmark": benchmark,
    "doctor": doctor,
    "shard": shard,
    "backbones": backbones,
    "completion": completion,
}
"""Name on the command line → module, in the order of ``--help``."""
