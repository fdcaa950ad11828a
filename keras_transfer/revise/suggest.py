"""Pictures without labels that are worth one, on a page that writes a list for ``retrain --add``."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from keras_transfer import __version__, text
from keras_transfer.arguments import checked
from keras_transfer.arguments.types import AnyPath, Backend, Device, Names, Positive, Printer
from keras_transfer.data.images.depth import parse as parse_depth
from keras_transfer.data.samples import BadImage, FileStore
from keras_transfer.data.sources.list_file import list_lines
from keras_transfer.errors import UserError
from keras_transfer.evaluation.metrics import log_softmax
from keras_transfer.evaluation.predict import Opened, find_images
from keras_transfer.files import check_output, write_text
from keras_transfer.html.templates import environment, page_file
from keras_transfer.html.thumbnails import of_file
from keras_transfer.inference.embed import embed
from keras_transfer.models.layer_names import LOGITS
from keras_transfer.revise.badge import badge
from keras_transfer.revise.single_label import start_single

PAGE = "suggest.html"


@dataclass(frozen=True)
class Suggestion:
    """A picture worth a label.

    Attributes:
        path: the file.
        label: the class that the model would give it.
        probability: of that class, 0..1.
    """

    path: str
    label: str
    probability: float


@checked
def suggest(
    source: AnyPath,
    pictures: Names,
    *,
    count: Positive = 50,
    output: AnyPath = PAGE,
    backend: Backend | None = None,
    device: Device | None = None,
    say: Printer = text.say,
) -> list[Suggestion]:
    """Choose pictures for labelling by BADGE (:func:`keras_transfer.revise.badge.badge`), and write a page to label them on.

    Pictures that the run has already, by their content, are left out, and so are copies.

    Args:
        source: run directory or model file.
        pictures: files, and folders of images, without labels.
        count: how many to choose.
        output: the page, ``.html``.
        backend: Keras backend.
        device: where to compute.
        say: prints a line.

    Returns:
        The pictures, in the order in which they were chosen.

    Raises:
        UserError: no such model or picture, none that the run does not have, or a file that cannot be written.
    """
    check_output("--output", str(output), ".html")
    files = [str(Path(path).absolute()) for path in find_images(list(pictures))]
    model, metadata, run = start_single(source, backend, device)
    known = set() if run is None else set(run.split_of_content() or {})
    new, left = _unknown(files, known)
    if left:
        say(f"left out: {left} pictures that the run has already, copies, and files that cannot be read")
    if not new:
        raise UserError(f"none of the {len(files)} pictures is new to the run and can be read")
    store = FileStore(new, None, parse_depth(metadata.get("depth")))
    found = embed(model, metadata, Opened(new, store.open))
    kernel, bias = model.get_layer(LOGITS).get_weights()
    shares = np.exp(log_softmax(found.features @ kernel + bias))
    classes = [str(name) for name in metadata["classes"]]
    chosen = [
        Suggestion(found.names[i], classes[int(shares[i].argmax())], float(shares[i].max()))
        for i in badge(found.features, shares, count)
    ]
    # Of a model file alone no run is known, which retrain needs.
    place = "RUN" if run is None else str(run.path)
    command = shlex.join(["keras-transfer", "retrain", place, "--add", "labels.txt"])
    write_text(Path(output), render(chosen, classes, command))
    say(
        f"{len(chosen)} of {len(new)} pictures: {text.one_line(output)}; label them there, then: {text.one_line(command)}"
    )
    return chosen


def render(chosen: Sequence[Suggestion], classes: Sequence[str], command: str) -> str:
    """Return the page, self-contained: it asks no server, and its button saves the list as a file, with which ``command`` trains."""
    script = page_file("keras_transfer.revise", "suggest.js")
    # A line of the list is its path, as the list writes it, and the label that was pressed.
    rows = [(one, list_lines([(one.path, "x")])[: -len(" x\n")], of_file(one.path)) for one in chosen]
    labels = [(name, list_lines([("x", name)])[len("x ") : -1]) for name in classes]
    return environment("keras_transfer.revise").get_template("suggest.html").render(
        rows=rows,
        labels=labels,
        command=command,
        style=Markup(page_file("keras_transfer.report", "report.css") + page_file("keras_transfer.revise", "suggest.css")),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=__version__,
    )  # fmt: skip


def _unknown(files: Sequence[str], known: set[bytes]) -> tuple[list[str], int]:
    """Return the files whose content is new, each once, and how many others there are."""
    seen, new, store = set(known), [], FileStore(files)
    for i, file in enumerate(files):
        try:
            content = store.open(i).digest()
        except BadImage:
            continue
        if content not in seen:
            seen.add(content)
            new.append(file)
    return new, len(files) - len(new)
