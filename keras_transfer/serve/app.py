"""The routes: ``/`` (the page), ``/api/predict``, ``/api/correct``, ``/api/model`` and ``/openapi.json``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.to_thread
import jinja2
import numpy as np
from fastapi import FastAPI, Form, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

from keras_transfer import __version__
from keras_transfer.data.images.store import BadImage
from keras_transfer.errors import Trouble, UserError
from keras_transfer.evaluation.metrics import NotFinite, require_finite
from keras_transfer.files import is_trouble
from keras_transfer.runtime import usable_cores
from keras_transfer.serve import images
from keras_transfer.serve.corrections import Corrections
from keras_transfer.serve.decoder import Decoders
from keras_transfer.serve.guard import LimitBody, SameOrigin
from keras_transfer.serve.patience import Patience
from keras_transfer.serve.predictor import Answer, Predictor

PAGE = Path(__file__).parent / "page"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_FORM_BYTES = 64 * 1024  # form data besides the file
MANY = "/api/predict/many"
_DECODERS = min(4, usable_cores() + 1)  # images decoded at the same time: limits memory


@dataclass(frozen=True)
class Limits:
    """Limits on requests.

    Attributes:
        upload: bytes per file.
        pixels: height × width of an image.
        local: accept only requests addressed to this computer's loopback names, or to ``hosts``.
        hosts: names under which a proxy makes the page known.
        together: images in one request; all of them may have four times ``upload`` bytes.
        decoding: seconds to decode an image.
        patience: seconds for a client to send its request; large ones get more, see ``patience.Patience``.
    """

    upload: int = 10 * 2**20
    pixels: int = 40 * 10**6
    local: bool = True
    hosts: tuple[str, ...] = ()
    together: int = 32
    decoding: float = 10.0
    patience: float = 20.0


class ClassProbability(BaseModel):
    """A class and its probability."""

    name: str
    probability: float = Field(ge=0, le=1)


class Prediction(BaseModel):
    """The prediction for an image."""

    file: str = Field(description="The file name as sent.")
    classes: list[ClassProbability] = Field(description="The most probable classes, in descending order.")
    labels: list[str] | None = Field(
        None, description="Of a model for several labels per image: the labels that it has, by the model's thresholds."
    )
    novelty: float | None = Field(
        None, description="Of a model that rejects: above 0, the image is none of the classes."
    )
    none_of_these: bool | None = Field(None, description="Of a model that rejects: whether it is none of the classes.")
    image: str | None = Field(None, description="With `explain`: the model's view of the image, as a JPEG data: URI.")
    heatmap: str | None = Field(
        None,
        description="With `explain`: Grad-CAM of the first class, as a transparent PNG data: URI to draw over `image`.",
    )


class Answered(BaseModel):
    """One of several images: its classes, or why there are none."""

    file: str = Field(description="The file name as sent.")
    classes: list[ClassProbability] = Field(description="The most probable classes, in descending order.")
    labels: list[str] | None = Field(None, description="As for a single image.")
    novelty: float | None = Field(None, description="As for a single image.")
    none_of_these: bool | None = Field(None, description="As for a single image.")
    error: str | None = Field(None, description="Why the image cannot be used; the others are answered all the same.")


class Correction(BaseModel):
    """A saved correction."""

    image: str = Field(description="Path of the saved image.")
    label: str
    list: str = Field(description="Path of the list file with the image and its label, for `data.source: list`.")


class ModelFacts(BaseModel):
    """The served model."""

    backbone: str
    classes: list[str] = Field(description="All class names, in label order.")
    image_size: list[int] = Field(description="Height and width of the model input.")
    color: str
    resize: str
    task: str = Field(description="`single`: an image has one class; `multi`: it has any number of labels.")
    thresholds: list[float] | None = Field(
        None, description="Of several labels: the probability from which an image has each, in label order."
    )
    max_upload_bytes: int
    max_pixels: int


class Problem(BaseModel):
    """Why a request was rejected."""

    detail: str


_PROBLEMS: Any = {
    413: {"model": Problem, "description": "The upload is too large."},
    408: {"model": Problem, "description": "The request took too long to arrive."},
    422: {"model": Problem, "description": "Not a usable image, or a missing or invalid argument."},
    503: {
        "model": Problem,
        "description": "The server lacks room on its disk, or processes; nothing is wrong with the image.",
    },
}


def create_app(predictor: Predictor, corrections: Corrections, limits: Limits | None = None) -> FastAPI:
    """Create the application.

    Args:
        predictor: the model; closed when the application shuts down.
        corrections: where corrected images are saved.
        limits: limits on requests.
    """
    limits = limits or Limits()
    decoders = Decoders(predictor.metadata, limits.pixels, limits.decoding, _DECODERS)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await decoders.close()
        predictor.close()

    # Without FastAPI's documentation pages, which load scripts from the internet; the schema stays.
    app = FastAPI(title="keras_transfer", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    several = {MANY: 4 * limits.upload + _FORM_BYTES}
    app.add_middleware(LimitBody, limit=limits.upload + _FORM_BYTES, larger=several)
    app.add_middleware(SameOrigin, local=limits.local, hosts=limits.hosts)
    app.add_middleware(Patience, seconds=limits.patience)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    _add_errors(app)
    _add_page(app, predictor, corrections, limits)
    _add_api(app, predictor, corrections, limits, decoders)
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(NotFinite)
    async def broken(_: Request, error: NotFinite) -> JSONResponse:
        logging.getLogger(__name__).error("%s", error)
        return JSONResponse({"detail": str(error)}, 500)

    @app.exception_handler(UserError)
    async def rejected(_: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"detail": error.reason if isinstance(error, BadImage) else str(error)}, 422)

    @app.exception_handler(Trouble)
    async def troubled(_: Request, error: Trouble) -> JSONResponse:
        logging.getLogger(__name__).error("the server cannot go on as it should: %s", error)
        return JSONResponse({"detail": str(error)}, 503)

    @app.exception_handler(OSError)
    async def no_room(_: Request, error: OSError) -> JSONResponse:
        logging.getLogger(__name__).error("a request failed: %r", error)
        if is_trouble(error):  # e.g. an upload that is kept in the temporary folder while it arrives
            return JSONResponse({"detail": f"the server has trouble of its own: {error.strerror or error}"}, 503)
        return JSONResponse({"detail": "internal error; see the server's output"}, 500)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        problems = [f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors()]
        return JSONResponse({"detail": "; ".join(problems)}, 422)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        logging.getLogger(__name__).error("a request failed: %r", error)
        return JSONResponse({"detail": "internal error; see the server's output"}, 500)


def _name(file: UploadFile) -> str:
    """Return the file name as sent; what no JSON can hold (the sender chooses its encoding) becomes a question mark."""
    return (file.filename or "").encode("utf-8", "replace").decode()


def _add_page(app: FastAPI, predictor: Predictor, corrections: Corrections, limits: Limits) -> None:
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE), autoescape=True, undefined=jinja2.StrictUndefined
    ).get_template("index.html")

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        text = template.render(
            classes=predictor.classes,
            several=predictor.several,
            names=corrections.classes,
            backbone=predictor.metadata["backbone"],
            size=predictor.metadata["image_size"],
            max_upload=limits.upload,
        )
        return HTMLResponse(text, headers=_HEADERS)


def _add_api(  # the routes, and the functions that they share
    app: FastAPI, predictor: Predictor, corrections: Corrections, limits: Limits, decoders: Decoders
) -> None:
    async def read(file: UploadFile) -> bytes:
        if (file.size or 0) > limits.upload:
            raise BadImage("", f"the file is larger than the limit of {limits.upload / 2**20:.3g} MiB")
        return await file.read()

    async def answer_for(file: UploadFile, explain: bool) -> tuple[Answer, np.ndarray | None]:
        image, shown = await decoders.prepare(_name(file) or "image", await read(file), explain)
        return await asyncio.wrap_future(predictor.ask(image, explain)), shown

    def prediction(name: str, answer: Answer, shown: np.ndarray | None, top: int) -> Prediction:
        require_finite(answer.probabilities)
        shares = np.minimum(answer.probabilities, 1.0).tolist()
        best = np.argsort(-answer.probabilities, kind="stable")[:top].tolist()
        classes = [ClassProbability(name=predictor.classes[k], probability=shares[k]) for k in best]
        strange = None if answer.novelty is None else answer.novelty > 0
        labels = predictor.labels_of(answer)
        found = Prediction(file=name, classes=classes, labels=labels, novelty=answer.novelty, none_of_these=strange)
        if shown is not None and answer.map is not None:
            found.image, found.heatmap = images.image_uri(shown), images.heat_uri(answer.map)
        return found

    @app.post("/api/predict", responses=_PROBLEMS, summary="Classify an image")
    async def predict(
        file: UploadFile,
        top: Annotated[int, Query(ge=1, description="Number of classes, at most all.")] = 5,
        explain: Annotated[bool, Query(description="Also return the image and its Grad-CAM map.")] = False,
    ) -> Prediction:
        answer, shown = await answer_for(file, explain)
        if not explain:
            return prediction(_name(file), answer, None, top)
        return await anyio.to_thread.run_sync(prediction, _name(file), answer, shown, top)

    _add_many(app, limits, answer_for, prediction)
    _add_correct(app, corrections, decoders, read, predictor.several)

    @app.get("/api/model", summary="The model and its classes")
    async def model() -> ModelFacts:
        facts = {key: predictor.metadata[key] for key in ("backbone", "classes", "image_size", "color", "resize")}
        limits_of_labels = predictor.thresholds.tolist() if predictor.several else None
        task = "multi" if predictor.several else "single"
        return ModelFacts(
            **facts, task=task, thresholds=limits_of_labels, max_upload_bytes=limits.upload, max_pixels=limits.pixels
        )


def _add_correct(
    app: FastAPI,
    corrections: Corrections,
    decoders: Decoders,
    read: Callable[[UploadFile], Awaitable[bytes]],
    several: bool,
) -> None:
    @app.post("/api/correct", responses=_PROBLEMS, summary="Save an image with its correct label")
    async def correct(
        file: UploadFile,
        label: Annotated[str, Form(description="Name of the correct class.")],
        new: Annotated[bool, Form(description="Whether it may be a class that the model does not have yet.")] = False,
    ) -> Correction:
        if several:
            raise UserError("corrections are not saved yet for a model with several labels per image")
        data = await read(file)
        suffix = await decoders.suffix(_name(file) or "image", data)
        path = await anyio.to_thread.run_sync(corrections.save, data, label, suffix, new)
        return Correction(image=str(path), label=label, list=str(corrections.list))


def _add_many(
    app: FastAPI,
    limits: Limits,
    answer_for: Callable[[UploadFile, bool], Awaitable[tuple[Answer, np.ndarray | None]]],
    prediction: Callable[[str, Answer, np.ndarray | None, int], Prediction],
) -> None:
    @app.post(MANY, responses=_PROBLEMS, summary="Classify several images")
    async def predict_many(
        files: list[UploadFile],
        top: Annotated[int, Query(ge=1, description="Number of classes, at most all.")] = 5,
    ) -> list[Answered]:
        if len(files) > limits.together:
            raise UserError(f"{len(files)} images in one request: expected at most {limits.together}")

        async def one(file: UploadFile) -> Answered:
            name = _name(file)
            try:
                answer, _ = await answer_for(file, False)
            except BadImage as error:
                return Answered(file=name, classes=[], error=error.reason)
            found = prediction(name, answer, None, top)
            return Answered(file=name, classes=found.classes, labels=found.labels, novelty=found.novelty,
                            none_of_these=found.none_of_these)  # fmt: skip

        return list(await asyncio.gather(*map(one, files)))
