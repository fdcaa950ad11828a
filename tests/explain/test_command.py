"""``explain`` and ``top_losses`` on a trained run."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_transfer.cli import main
from tests.conftest import make_photos

pytestmark = pytest.mark.backend

SMALL = ["--set", "model.backbone=tiny", "--set", "model.weights=none", "--set", "data.image_size=32",
         "--set", "data.augment=[]", "--set", "phases=[{name: all, epochs: 3, learning_rate: 0.01}]",
         "--set", "output.report=false"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    photos = make_photos(folder / "photos", {"apple": 12, "berry": 12, "cherry": 12})
    assert main(["train", "--data", str(photos), *SMALL, "--output", str(folder / "run")]) == 0
    return folder / "run"


def explain(*arguments):
    return main(["explain", *map(str, arguments)])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gradcam", "occlusion", "top-losses"])
def test_the_runs_own_images(run, tmp_path, capsys, method):
    assert explain(method, run, "--split", "all", "--count", 5, "--output", tmp_path / "out.png") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all("(true: " in line for line in lines)
    with Image.open(tmp_path / "out.png") as drawn:
        assert drawn.width > 400 and len(np.unique(np.asarray(drawn.convert("L")))) > 20


@pytest.mark.slow
def test_given_images_and_a_bad_one(run, tmp_path, capsys):
    photos = run.parent / "photos"
    (tmp_path / "bad.png").write_bytes(b"broken")
    paths = [tmp_path / "bad.png", photos / "berry" / "000.png", photos / "apple"]
    assert explain("gradcam", run, *paths, "--class", "berry", "--count", 3, "--output", tmp_path / "o.png") == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3 and all(": berry, " in line for line in said.out.splitlines())
    assert "skipped" in said.err and "bad.png" in said.err and "the first 3 of 14" in said.err


def test_top_losses_are_the_highest(run):
    from keras_transfer.data import folder
    from keras_transfer.evaluation.evaluate import predict_logits
    from keras_transfer.evaluation.metrics import log_softmax
    from keras_transfer.explain import top_losses
    from keras_transfer.inference import start, transform_of

    model, metadata, _ = start(run, None, None)
    split = folder(run.parent / "photos").all
    found = top_losses(model, split, transform_of(metadata), 4)
    logs = log_softmax(predict_logits(model, split, transform_of(metadata)))
    losses = -logs[np.arange(len(split)), split.labels]
    np.testing.assert_allclose([one.loss for one in found], np.sort(losses)[::-1][:4], rtol=1e-6)
    for one in found:
        assert one.loss == pytest.approx(losses[one.position]) and one.name == split.image_name(one.position)
        assert one.label == split.labels[one.position] and one.predicted == logs[one.position].argmax()
        assert one.label_probability == pytest.approx(np.exp(-one.loss))


def test_bad_arguments(run, tmp_path, capsys):
    out = tmp_path / "o.png"
    for arguments, says in [
        (["gradcam", run, "--output", tmp_path / "o.jpg"], "ends in .png"),
        (["gradcam", run, tmp_path / "nothing.png", "--output", out], "no such file"),
        (["gradcam", run, "--class", "bery", "--output", out], "did you mean 'berry'"),
        (["gradcam", run, "--layer", "block2_rel", "--output", out], "did you mean 'block2_relu'"),
        (["occlusion", run, "--layer", "block2_relu", "--output", out], "leave out --layer"),
        (["top-losses", run, "a", "b", "--output", out], "one data source"),
        (["top-losses", run, "--class", "berry", "--output", out], "leave out --class"),
        (["gradcam", run.parent / "nothing", "--output", out], "no run directory"),
    ]:
        assert explain(*arguments) == 2, says
        assert says in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(SystemExit):
        explain("gradcamm", run, "--output", out)


@pytest.mark.slow
def test_the_backend_that_was_asked_for(run, tmp_path, command):
    from keras_transfer.runtime import installed_backends

    other = installed_backends()[-1]
    arguments = [run, "--backend", other, "--count", 2, "--output", tmp_path / "o.png"]
    done = command("explain", "gradcam", *arguments, KERAS_BACKEND="")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
