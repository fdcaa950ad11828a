"""Decode uploads in processes of their own, under limits of time and memory.

A thread cannot be stopped while a library decodes; a process can. It holds no model, no framework and no secrets, so a fault in
a decoder costs one answer. Both sides exchange a line of JSON and raw bytes.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

import numpy as np

from keras_transfer.data.images.store import BadImage
from keras_transfer.errors import Trouble

MEMORY = 4 << 30
"""Address space of a decoding process in bytes, where the system can limit it."""


class Decoders:
    """Up to ``count`` decoding processes, started when they are needed, for one event loop.

    The loop itself talks to them: threads that wait for pipes would take turns with it at every byte.

    Args:
        metadata: of the model: ``image_size``, ``resize`` and ``color`` are used.
        max_pixels: height × width of an image.
        seconds: for one image.
        count: decoding at the same time; further images wait.
    """

    def __init__(self, metadata: Any, max_pixels: int, seconds: float, count: int):
        needed = {key: metadata.get(key) for key in ("image_size", "resize", "color", "depth")}
        self._job = {"metadata": needed, "max_pixels": max_pixels}
        self._seconds = seconds
        self._idle: list[_Process] = []
        self._free = asyncio.Semaphore(count)
        self._ending: set[asyncio.Future[None]] = set()
        self._closed = False

    async def prepare(self, name: str, data: bytes, view: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the model's input, uint8 (h, w, c), and with ``view`` the image to display; see ``images.view``.

        Raises:
            BadImage: not an image, damaged, too large, or it takes too long.
            Trouble: no process can be started.
        """
        _, arrays = await self._ask(name, data, "view" if view else "input")
        return arrays[0], arrays[1] if view else None

    async def suffix(self, name: str, data: bytes) -> str:
        """Decode an image, and return the file name suffix of its format; raises as :meth:`prepare`."""
        return str((await self._ask(name, data, "suffix"))[0]["suffix"])

    async def close(self) -> None:
        """Stop the idle processes; the others stop with their answer."""
        self._closed = True
        while self._idle:
            self._end(self._idle.pop())
        await asyncio.gather(*self._ending)

    def _end(self, process: _Process) -> None:
        """Stop a process, and wait for its end in the background."""
        ending = asyncio.ensure_future(process.stop())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _ask(self, name: str, data: bytes, wanted: str) -> tuple[dict[str, Any], list[np.ndarray]]:
        async with self._free:
            process = self._idle.pop() if self._idle else await _Process.start()
            late = asyncio.get_running_loop().call_later(self._seconds, process.expire)
            try:
                answer, arrays = await process.ask({**self._job, "name": name, "wanted": wanted}, data)
            except (OSError, EOFError, ValueError):
                self._end(process)
                reason = f"it takes more than {self._seconds:g} s to decode" if process.late else "its decoder failed"
                raise BadImage(name, reason) from None
            except BaseException:  # the request was cancelled: an answer that nobody reads is still to come
                self._end(process)
                raise
            finally:
                late.cancel()
            if self._closed or process.late:
                self._end(process)
            else:
                self._idle.append(process)
        if "error" in answer:
            raise BadImage(name, str(answer["error"]))
        return answer, arrays


class _Process:
    def __init__(self, child: asyncio.subprocess.Process):
        assert child.stdin is not None and child.stdout is not None
        self._child, self._in, self._out = child, child.stdin, child.stdout
        self.late = False

    @classmethod
    async def start(cls) -> _Process:
        one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        try:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "keras_transfer.serve.decoder",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, **one, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        except OSError as error:
            raise Trouble(f"cannot start a process that decodes images: {error.strerror or error}") from error
        process = cls(child)
        await process._out.readline()  # its imports do not count
        return process

    async def ask(self, job: dict[str, Any], data: bytes) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Raises OSError, EOFError or ValueError if the process ends or answers nonsense."""
        self._in.write(json.dumps({**job, "bytes": len(data)}).encode() + b"\n" + data)
        await self._in.drain()
        answer = json.loads(await self._out.readline() or "null")
        if answer is None:
            raise EOFError
        arrays = []
        for shape in answer.get("shapes", []):
            content = await self._out.readexactly(int(np.prod(shape)))
            arrays.append(np.frombuffer(content, np.uint8).reshape(shape))
        return answer, arrays

    def expire(self) -> None:
        """End a process that takes too long."""
        self.late = True
        self._kill()

    async def stop(self) -> None:
        """End it, and wait for its end."""
        self._kill()
        await self._child.wait()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            self._child.kill()


def _write(stream: IO[bytes], head: dict[str, Any], parts: Sequence[bytes]) -> None:
    stream.write(json.dumps(head).encode() + b"\n")
    for part in parts:
        stream.write(part)
    stream.flush()


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
