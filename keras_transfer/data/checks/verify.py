"""Check every image before training: whether it can be read, and whether another split has a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from keras_transfer.data.images.depth import Span
from keras_transfer.data.images.protocols import one_pass
from keras_transfer.data.images.store import ArrayImage, EncodedImage
from keras_transfer.data.samples import ArrayStore, BadImage, DecodingStore, SampleTable
from keras_transfer.data.sharded.store import ShardStore
from keras_transfer.data.threads import each
from keras_transfer.errors import UserError
from keras_transfer.runtime import usable_cores
from keras_transfer.text import one_line

Bad = list[tuple[str, str]]


def resolve_workers(workers: int | str) -> int:
    """Return a number of threads; `"auto"` is the number of usable processors, at most 8."""
    if workers == "auto":
        return min(usable_cores(), 8)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise UserError(f"workers must be 'auto' or a whole number of at least 0, received {workers!r}")
    return workers


@dataclass(frozen=True)
class Checked:
    """The result of checking every image.

    Attributes:
        bad: (name, reason) of each image that cannot be read, sorted by name.
        digests: image name → hash of the content, of the readable images.
        ranges: image name → smallest and largest value, of 16-bit images.
    """

    bad: Bad
    digests: dict[str, bytes]
    ranges: dict[str, Span] = field(default_factory=dict)


def check(samples: SampleTable, workers: int | str = "auto") -> Checked:
    """Decode every image in threads."""
    images = samples.images
    if isinstance(images, ShardStore) and (known := images.checked()) is not None:
        return Checked([], *known)  # when the shards were made, and these are the same bytes
    ranges: dict[str, Span] = {}
    whole = isinstance(images, ArrayStore)  # images in memory have nothing to decode

    def look(i: int) -> tuple[str, bytes | str]:
        """Return the name, and the digest or (text) why it cannot be read."""
        try:
            image = images.open(i)
            if not whole:
                image.pixels()
            if isinstance(image, (EncodedImage, ArrayImage)) and image.values is not None:
                ranges[images.name(i)] = image.values
            return images.name(i), image.digest()
        except BadImage as error:
            return error.name, error.reason

    threads = max(resolve_workers(workers), 1)
    parts = each(look, one_pass(images), threads, "kt-verify")
    found = [one for part in parts for one in part]
    bad = sorted((name, reason) for name, reason in found if isinstance(reason, str))
    return Checked(bad, {name: digest for name, digest in found if isinstance(digest, bytes)}, ranges)


def drop_bad(
    samples: SampleTable,
    on_bad_image: Literal["error", "skip"],
    workers: int | str = "auto",
    advice: str = " (on_bad_image='skip' skips them)",
) -> tuple[SampleTable, Checked]:
    """Check all images; raise a UserError that lists the unreadable ones, or (`"skip"`) remove them.

    Args:
        samples: the images.
        on_bad_image: what to do about those that cannot be read.
        workers: threads.
        advice: what ends the first line of the error: where they are from, or how to go on without them.

    Returns:
        The readable samples, which know the hashes of their contents from here on; and what was found.
    """
    checked = check(samples, workers)
    bad = checked.bad
    if not bad:
        return _knowing(samples, checked.digests), checked
    if on_bad_image == "error":
        head = f"{len(bad)} of {len(samples)} images cannot be read{advice}:"
        raise UserError(f"{head}\n{listed(bad)}")
    names = {name for name, _ in bad}
    keep = [i for i in range(len(samples)) if samples.images.name(i) not in names]
    if not keep:
        raise UserError(f"none of the {len(samples)} images can be read:\n{listed(bad)}")
    return _knowing(samples.take(np.array(keep, np.int64)), checked.digests), checked


def _knowing(samples: SampleTable, digests: Mapping[str, bytes]) -> SampleTable:
    images = samples.images
    return replace(samples, images=images.knowing(digests)) if isinstance(images, DecodingStore) else samples


def leaks(samples: SampleTable, digests: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Return pairs of byte-identical images in different splits."""
    first: dict[bytes, int] = {}
    found = []
    for i in range(len(samples)):
        name = samples.images.name(i)
        j = first.setdefault(digests[name], i)
        if samples.split[i] != samples.split[j]:
            found.append((samples.images.name(j), name))
    return found


def with_leak_note(samples: SampleTable, digests: Mapping[str, bytes]) -> SampleTable:
    """Add a warning to the notes if an image of one split is also in another."""
    found = leaks(samples, digests)
    if not found:
        return samples
    first, second = found[0]
    note = (
        f"warning: copies in different splits, which make validation and test metrics too good: {len(found)}, e.g. "
        f"{first} = {second} (keras-transfer doctor lists them)"
    )
    return replace(samples, notes=(*samples.notes, note))


def listed(bad: Sequence[tuple[str, str]], limit: int = 20) -> str:
    """Return a line for each of the first `limit` unreadable images."""
    lines = [f"  {one_line(name)}: {one_line(reason)}" for name, reason in bad[:limit]]
    return "\n".join([*lines, f"  … and {len(bad) - limit} more"] if len(bad) > limit else lines)
