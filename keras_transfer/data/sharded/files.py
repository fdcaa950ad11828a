"""The local files of blocks: opened, fetched when they are asked for, and fetched ahead in the order in which they will be."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from time import monotonic, sleep

from keras_transfer.data.sharded.blocks import Block, DamagedShard
from keras_transfer.data.sharded.cache import BlockCache, OpenFile
from keras_transfer.errors import UserError

FETCHERS = 4  # blocks that are fetched at the same time
MAX_OPEN = 128
PATIENCE = 60.0  # seconds that a thread waits for room in the cache
_TOUCH = 5.0  # seconds between notes that a block is in use


class BlockFiles:
    """The blocks of a data set, for any number of threads.

    Args:
        blocks: of the data.
        cache: where copies of remote ones are kept; None: all are local files.

    Attributes:
        fetched: number of blocks that were fetched, for tests and measurements.
        waited: number of times that a thread waited for a block.
    """

    def __init__(self, blocks: Sequence[Block], cache: BlockCache | None):
        self.blocks, self.cache = blocks, cache
        self._open: OrderedDict[int, OpenFile] = OrderedDict()
        self._wanted: dict[int, Sequence[int]] = {}
        self._flights: dict[int, Future[OpenFile | None]] = {}
        self._failed: set[int] = set()
        self._full = False
        self._lock = threading.RLock()
        self.fetched = self.waited = 0

    def announce(self, owner: int, blocks: Sequence[int]) -> None:
        """Say which blocks a reader will need, in which order; replaces what it has said before. An empty list ends it."""
        if self.cache is None:
            return
        with self._lock:
            if len(blocks):
                self._wanted[owner] = blocks
            else:
                self._wanted.pop(owner, None)
            self._failed.clear()
            self._full = False
            self._fetch_ahead()

    def read(self, number: int, start: int, length: int) -> bytes:
        """Return bytes of a block; raises DamagedShard where it is shorter, and what `file` raises."""
        found = self._known(number)
        if found is None and not self._is_wanted(number):
            part = self.blocks[number].range(start, start + length)
            if part is not None:
                return part
        found = found or self.file(number)
        part = os.pread(found.fd, length, start)
        while 0 < len(part) < length:  # a signal may cut a read short
            more = os.pread(found.fd, length - len(part), start + len(part))
            if not more:
                break
            part += more
        if len(part) != length:
            raise DamagedShard(self.blocks[number].name, f"it ends before byte {start + length}")
        return part

    def file(self, number: int) -> OpenFile:
        """Return the local file of a block, and wait for it where it has to be fetched.

        Raises:
            DamagedShard, CannotRead: it cannot be had.
            UserError: the cache has no room for it.
        """
        end = monotonic() + PATIENCE
        while True:
            found = self._known(number)
            if found is not None:
                return found
            with self._lock:
                flight = self._flights.get(number)
                own = flight is None
                if flight is None:
                    flight = self._flights[number] = Future()
                self.waited += 1
            if own:
                self._fly(number, flight, ())
            found = flight.result()
            if found is not None:
                return found
            if own and monotonic() > end:
                raise UserError(
                    f"{self.blocks[number].name}: there is no room for it in the cache of shards; see shard_cache"
                )
            if own:  # what others are fetching takes the room: it can be removed once it is complete
                sleep(0.02)

    def _known(self, number: int) -> OpenFile | None:
        """Return the file of a block that is here, or None."""
        with self._lock:
            found = self._open.get(number)
            if found is not None:
                self._open.move_to_end(number)
        block = self.blocks[number]
        if found is None:
            found = self._opened(block)
            if found is not None:
                self._keep(number, found)
        elif self.cache is not None and monotonic() - found.touched > _TOUCH:
            found.touched = monotonic()
            self.cache.touch(block.key)
        return found

    def _opened(self, block: Block) -> OpenFile | None:
        path = block.local()
        if path is None:
            return None if self.cache is None else self.cache.open(block.key)
        try:
            return OpenFile(path)
        except OSError as error:
            raise DamagedShard(block.name, (error.strerror or str(error)).lower()) from None

    def _keep(self, number: int, found: OpenFile) -> None:
        with self._lock:
            self._open[number] = found
            while len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)

    def _is_wanted(self, number: int) -> bool:
        with self._lock:
            return number in self._flights or any(number in wanted for wanted in self._wanted.values())

    def _fetch_ahead(self) -> None:
        """Start as many flights as there may be, of the blocks that are needed first."""
        for wanted in () if self._full else tuple(self._wanted.values()):
            for place, number in enumerate(wanted):
                if len(self._flights) >= FETCHERS:
                    return
                if number in self._open or number in self._flights or number in self._failed:
                    continue
                assert self.cache is not None
                block = self.blocks[number]
                if block.local() is not None or self.cache.path(block.key).exists():
                    continue
                flight: Future[OpenFile | None] = Future()
                self._flights[number] = flight
                pinned = {self.blocks[earlier].key for earlier in wanted[:place]}
                thread = threading.Thread(
                    target=self._fly, args=(number, flight, pinned, True), daemon=True, name="kt-fetch"
                )
                thread.start()

    def _fly(
        self, number: int, flight: Future[OpenFile | None], pinned: Sequence[str] | set[str], ahead: bool = False
    ) -> None:
        """Fetch a block and give it to everyone who waits for it."""
        assert self.cache is not None
        found: OpenFile | None = None
        problem: BaseException | None = None
        try:
            found = self.cache.fetch(self.blocks[number], pinned)
        except BaseException as error:
            problem = error
        with self._lock:
            self._drop_removed()
            if found is None:
                self._full |= problem is None and ahead
                self._failed.add(number)  # ahead of time: whoever needs it tries again, and gets the error
            else:
                self._keep(number, found)
                self.fetched += 1
            self._flights.pop(number, None)
        if problem is None or ahead:
            flight.set_result(found)
        else:
            flight.set_exception(problem)
        if ahead:
            with self._lock:
                self._fetch_ahead()

    def _drop_removed(self) -> None:
        """Close the files of blocks that were removed to make room, which would keep it."""
        if self.cache is not None:
            for number in [n for n in self._open if not self.cache.path(self.blocks[n].key).exists()]:
                if self.blocks[number].local() is None:
                    del self._open[number]
