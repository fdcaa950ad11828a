"""The process of one rival: `python -m benchmarks.worker MODULE:FUNCTION ARGUMENTS_AS_JSON`.

It prepares, then measures once for each line on standard input. Answers are lines of JSON on standard output; the rival's own
output goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback
from typing import Any

from keras_transfer.errors import UserError


def main(build: str, arguments: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the harness ends its processes itself
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**content: Any) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        module, _, function = build.partition(":")
        measure = getattr(importlib.import_module(module), function)(**json.loads(arguments))
        answer(ready=True)
        for _ in sys.stdin:
            found = measure()
            answer(**(found if isinstance(found, dict) else {"value": found}))
    except UserError as error:
        answer(skipped=str(error))
    except BaseException as error:
        traceback.print_exc()
        answer(failed=f"{type(error).__name__}: {error}".splitlines()[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
