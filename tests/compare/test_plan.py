"""Every problem is reported before anything is trained."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from keras_transfer.cli import main
from keras_transfer.compare import command as compare_run
from keras_transfer.compare.plan import RunRequest, plan
from keras_transfer.config import load_config
from keras_transfer.errors import UserError
from keras_transfer.runtime import BACKENDS, installed_backends
from tests.compare.conftest import write_config


@pytest.fixture(autouse=True)
def _nothing_is_trained(monkeypatch):
    monkeypatch.setattr(compare_run, "_train", lambda *_: pytest.fail("something was trained"))


def fails(capsys, *arguments):
    assert main(["compare", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    return captured.err


def begun(folder, configs, *names):
    """Write the files of a comparison that started to train these."""
    asked = {}
    for config, name in zip(configs, names):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.yaml").write_text("name: begun\n")
        asked[name] = asdict(RunRequest.from_config(load_config(config), None, None))
    (folder / "compare.json").write_text(json.dumps({"asked": asked}))


def test_wrong_arguments(capsys, tmp_path, photos, configs):
    out = ["--output", tmp_path / "out"]
    (tmp_path / "same").mkdir()
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "config.yaml").write_text("name: x\n")
    other = write_config(tmp_path / "same" / "one.yaml", photos)
    bad = write_config(tmp_path / "bad.yaml", photos, optimiser="sgd")
    assert "at least two" in fails(capsys, configs[0], *out)
    assert "one is given twice" in fails(capsys, configs[0], configs[0], *out)
    assert "one is given twice" in fails(capsys, configs[0], other, *out)
    assert "photos is not a run directory" in fails(capsys, configs[0], photos, *out)
    assert "unfinished is not finished; resume it with" in fails(capsys, configs[0], tmp_path / "unfinished", *out)
    text = fails(capsys, bad, tmp_path / "nothing.yaml", photos, *out)
    assert "did you mean 'optimizer'" in text and "nothing.yaml" in text and "photos" in text
    assert "unknown backend 'pytorch'" in fails(capsys, *configs, "--backends", "pytorch", *out)
    assert "unknown key 'data.limitt'" in fails(capsys, *configs, "--set", "data.limitt=3", *out)
    assert not (tmp_path / "out").exists()


def test_invalid_outputs(capsys, tmp_path, configs):
    assert "is a file" in fails(capsys, *configs, "--output", configs[0])
    begun(tmp_path / "out", configs, "one")
    assert "is a run directory" in fails(capsys, *configs, "--output", tmp_path / "out" / "one")
    for text in ("{", "[]", '{"asked": 3}', '{"asked": {"one": {"config": {}}}}'):
        (tmp_path / "out" / "compare.json").write_text(text)
        assert "compare.json" in fails(capsys, *configs, "--output", tmp_path / "out")


def test_a_changed_configuration_is_refused(capsys, tmp_path, photos, configs):
    out = tmp_path / "out"
    begun(out, configs, "one", "two")
    write_config(tmp_path / "one.yaml", photos, epochs=7, schedule="cosine")
    text = fails(capsys, *configs, "--output", out)
    assert "one: phases.0.epochs: 2 → 7" in text and "one: phases.0.schedule: constant → cosine" in text
    assert "two" not in text and f"{out / 'one'} was started with another configuration" in text
    assert "two: seed: 0 → 4" in fails(capsys, *configs, "--set", "seed=4", "--output", out)
    assert "auto → cpu" in fails(capsys, *configs, "--device", "cpu", "--output", out)


def test_settings_without_effect_may_change(tmp_path, photos, configs):
    tree = load_config(configs[0])
    asked = RunRequest.from_config(tree, None, None)
    said = RunRequest.from_config(
        load_config(configs[0], ["name=x", "seed=0", "output.save_every=3 minutes"]), None, None
    )
    assert said.complete() == asked.complete()
    phases = load_config(None, ["phases.0.epochs=3"], data=str(photos))
    other = RunRequest.from_config(load_config(None, data=str(photos)), None, None)
    assert RunRequest.from_config(phases, None, None).complete() != other.complete()
    assert json.loads(json.dumps(asdict(asked))) == asdict(asked)
    assert RunRequest.from_config(phases, None, None).to_config("here").phases == {0: {"epochs": 3}}


def test_a_foreign_run_is_not_taken_over(capsys, tmp_path, configs):
    begun(tmp_path / "out", configs, "one")
    (tmp_path / "out" / "compare.json").unlink()
    assert "was not started by compare" in fails(capsys, *configs, "--output", tmp_path / "out")


def test_each_backend_is_a_run(tmp_path, configs):
    backends = installed_backends()
    entries = plan(configs, [], tmp_path, backends)
    assert [entry.name for entry in entries] == [f"{name}-{b}" for name in ("one", "two") for b in backends]
    assert [entry.request.backend for entry in entries] == backends * 2
    missing = [name for name in BACKENDS if name not in backends]
    if missing:
        with pytest.raises(UserError, match="is not installed"):
            plan(configs, [], tmp_path, missing)


def test_the_first_backend_is_kept(capsys, tmp_path, configs, monkeypatch):
    if len(installed_backends()) < 2:
        pytest.skip("only one backend is installed")
    first, second = installed_backends()[:2]
    monkeypatch.setenv("KERAS_BACKEND", first)
    begun(tmp_path / "out", configs, "one")
    monkeypatch.setenv("KERAS_BACKEND", second)
    assert f"backend: {first} → {second}" in fails(capsys, *configs, "--output", tmp_path / "out")
