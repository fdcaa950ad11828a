"""What a run that stops before its end says, and how to go on with it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from keras_transfer.distribute import Group, resume_command
from keras_transfer.errors import Interrupted, Trouble, UserError
from keras_transfer.files import is_trouble
from keras_transfer.training.callbacks import LossNotFinite
from keras_transfer.training.faults import is_not_deterministic, not_deterministic
from keras_transfer.training.run_events import RunEvents
from keras_transfer.training.state import forget_unproven


@contextlib.contextmanager
def stops_explained(events: RunEvents, group: Group) -> Iterator[None]:
    """Explain how to continue after an interrupt, a full disk, a non-finite loss, an operation without a deterministic form, or the end
    of another process."""
    run = events.run
    try:
        yield
    except KeyboardInterrupt as stop:
        if not run.config.exists():  # nothing to go on with
            raise
        raise Interrupted(str(run.path)) from stop
    except LossNotFinite as trouble:
        if not group.is_main:
            raise
        run.write_json(run.bad_batch, trouble.where)
        forget_unproven(run.state_file)
        number = [phase.name for phase in events.config.phases].index(trouble.where["phase"])
        rate = events.config.phases[number].rate
        raise UserError(
            f"{trouble}\nthe images of the batch are listed in {run.bad_batch}; the best model is kept; go on from the last "
            f"epoch that ended well with: {resume_command(run.path)} "
            f"--set phases.{number}.learning_rate={rate / 10:g}"
        ) from trouble
    except Exception as error:
        if isinstance(error, Trouble) or is_trouble(error):
            advice = "nothing was trained yet: make room, then give the same command again"
            if run.config.exists():
                advice = f"what was saved is kept: make room, then go on with: {resume_command(run.path)}"
            raise Trouble(f"{error}\n{advice}") from error
        if events.config.deterministic and is_not_deterministic(error):
            raise not_deterministic(error) from error
        if (what := group.explain(error)) is not None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # from the launcher, which has noticed too
            lost = UserError(f"{what}; what was saved is kept: go on with: {resume_command(run.path)}")
            if not group.is_main and not what.startswith("process 0 "):
                lost.of_process_0 = True  # type: ignore[attr-defined]
            raise lost from error
        raise
