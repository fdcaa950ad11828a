"""Decode uploads in processes of their own, under limits of time and memory.

A thread cannot be stopped while a library decodes; a process can. It holds no model, no framework and no secrets, so a fault in
a decoder costs one answer. Both sides exchange a line of JSON and raw bytes.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from keras_transfer.data.images.store import BadImage
from keras_transfer.errors import Trouble

MEMORY = 4 << 30
"""Address space of a decoding process in bytes, where the system can limit it."""


class Decoders:
    """Up to ``count`` decoding processes, started when they are needed.

    Args:
        metadata: of the model: ``image_size``, ``resize`` and ``color`` are used.
        max_pixels: height × width of an image.
        seconds: for one image.
        count: decoding at the same time; the caller has no more threads than that.
    """

    def __init__(self, metadata: Any, max_pixels: int, seconds: float, count: int):
        needed = {key: metadata.get(key) for key in ("image_size", "resize", "color", "depth")}
        self._job = {"metadata": needed, "max_pixels": max_pixels}
        self._seconds, self._count = seconds, count
        self._idle: queue.LifoQueue[_Process] = queue.LifoQueue()
        self._closed = False
        self._watch = _Watch(seconds)

    def prepare(self, name: str, data: bytes, view: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the model's input, uint8 (h, w, c), and with ``view`` the image to display; see ``images.view``.

        Raises:
            BadImage: not an image, damaged, too large, or it takes too long.
            Trouble: no process can be started.
        """
        _, arrays = self._ask(name, data, "view" if view else "input")
        return arrays[0], arrays[1] if view else None

    def suffix(self, name: str, data: bytes) -> str:
        """Decode an image, and return the file name suffix of its format; raises as :meth:`prepare`."""
        return str(self._ask(name, data, "suffix")[0]["suffix"])

    def close(self) -> None:
        """Stop the idle processes; the others stop with their answer."""
        self._closed = True
        self._watch.close()
        while True:
            try:
                self._idle.get_nowait().stop()
            except queue.Empty:
                return

    def _ask(self, name: str, data: bytes, wanted: str) -> tuple[dict[str, Any], list[np.ndarray]]:
        try:
            process = self._idle.get_nowait()
        except queue.Empty:
            process = _Process()
        late = self._watch.begin(process)
        try:
            answer, arrays = process.ask({**self._job, "name": name, "wanted": wanted}, data)
        except (OSError, EOFError, ValueError):
            process.stop()
            reason = f"it takes more than {self._seconds:g} s to decode" if late.expired else "its decoder failed"
            raise BadImage(name, reason) from None
        finally:
            self._watch.end(late)
        if self._closed or late.expired or self._idle.qsize() >= self._count:
            process.stop()
        else:
            self._idle.put(process)
        if "error" in answer:
            raise BadImage(name, str(answer["error"]))
        return answer, arrays


@dataclass
class _Deadline:
    process: _Process
    at: float
    expired: bool = False


class _Watch:
    """Stop processes that take too long, in one thread: starting one for every image costs as much as decoding a small one."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._running: list[_Deadline] = []  # the first one ends first
        self._changed = threading.Condition()
        self._closed = False
        threading.Thread(target=self._work, name="decoder watch", daemon=True).start()

    def begin(self, process: _Process) -> _Deadline:
        """Stop a process in some seconds, unless :meth:`end` is called before."""
        deadline = _Deadline(process, time.monotonic() + self._seconds)
        with self._changed:
            self._running.append(deadline)
            if len(self._running) == 1:  # otherwise the thread waits for an earlier one, and then looks again
                self._changed.notify()
        return deadline

    def end(self, deadline: _Deadline) -> None:
        """Let the process live, if it is not too late."""
        with self._changed, suppress(ValueError):
            self._running.remove(deadline)

    def close(self) -> None:
        """Stop watching."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _work(self) -> None:
        with self._changed:
            while not self._closed or self._running:
                now = time.monotonic()
                while self._running and self._running[0].at <= now:
                    late = self._running.pop(0)
                    late.expired = True
                    late.process.stop()
                self._changed.wait(self._running[0].at - now if self._running else None)


class _Process:
    def __init__(self) -> None:
        one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "keras_transfer.serve.decoder"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **one, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            self._read().readline()  # its imports do not count
        except OSError as error:
            raise Trouble(f"cannot start a process that decodes images: {error.strerror or error}") from error

    def _read(self) -> IO[bytes]:
        assert self._child.stdout is not None
        return self._child.stdout

    def ask(self, job: dict[str, Any], data: bytes) -> tuple[dict[str, Any], list[np.ndarray]]:
        assert self._child.stdin is not None
        _write(self._child.stdin, {**job, "bytes": len(data)}, [data])
        answer = json.loads(self._read().readline() or "null")
        if answer is None:
            raise EOFError
        return answer, [_array(self._read(), shape) for shape in answer.get("shapes", [])]

    def stop(self) -> None:
        self._child.kill()
        self._child.wait()


def _write(stream: IO[bytes], head: dict[str, Any], parts: Sequence[bytes]) -> None:
    stream.write(json.dumps(head).encode() + b"\n")
    for part in parts:
        stream.write(part)
    stream.flush()


def _array(stream: IO[bytes], shape: Sequence[int]) -> np.ndarray:
    return np.frombuffer(_exactly(stream, int(np.prod(shape))), np.uint8).reshape(shape)


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _answer(job: dict[str, Any], data: bytes) -> tuple[dict[str, Any], list[np.ndarray]]:
    from keras_transfer.data.augment import Transform
    from keras_transfer.serve import images

    metadata = job["metadata"]
    try:
        image = images.open_upload(job["name"], data, job["max_pixels"], metadata["depth"])
        if job["wanted"] == "suffix":
            image.pixels()  # a damaged image would stop the next training
            return {"suffix": images.suffix_of(data)}, []
        height, width = metadata["image_size"]
        arrays = [Transform((height, width), [], metadata["resize"], metadata["color"])(image)]
        if job["wanted"] == "view":
            arrays.append(images.view(image, metadata))
    except BadImage as error:
        return {"error": error.reason}, []
    except MemoryError:
        return {"error": "it takes too much memory to decode"}, []
    return {"shapes": [array.shape for array in arrays]}, arrays


def _limit_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):  # another system, or one that does not allow it
        return


def _work() -> None:
    """Answer one request after the other, until the other side closes."""
    import signal

    import keras_transfer.data.augment
    import keras_transfer.serve.images  # noqa: F401 - the import is what takes time

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal; the server decides
    _limit_memory()
    stream, out = sys.stdin.buffer, sys.stdout.buffer
    _write(out, {"ready": True}, [])
    while line := stream.readline():
        job = json.loads(line)
        answer, arrays = _answer(job, _exactly(stream, job["bytes"]))
        _write(out, answer, [np.ascontiguousarray(array).tobytes() for array in arrays])


if __name__ == "__main__":
    _work()
