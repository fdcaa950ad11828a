"""The command line: help, usage errors and commands in processes of their own."""

from __future__ import annotations

import inspect
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from types import ModuleType

import pytest

from keras_transfer.cli import COMMANDS, build_parser, main
from tests.conftest import ROOT, make_photos

SMALL = ["--set", "model.backbone=tiny", "--set", "model.weights=none", "--set", "data.image_size=32",
         "--set", "data.augment=[]", "--set", "phases=[{name: all, epochs: 8, learning_rate: 0.01}]",
         "--set", "output.report=false"]  # fmt: skip


def help_of(*command: str, capsys) -> str:
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_help_names_every_command_and_so_does_no_argument_at_all(capsys):
    text = help_of(capsys=capsys)
    assert all(name in text for name in COMMANDS)
    assert main([]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_examples_and_a_script(name, capsys):
    text = help_of(name, capsys=capsys)
    examples = COMMANDS[name].EXAMPLES
    assert 2 <= len(examples) <= 3
    for example in examples:
        assert f"\n  {example}\n" in text
        program, *words = shlex.split(example)
        assert program == "keras-transfer" and words[0] == name
        assert build_parser().parse_args(words).command is COMMANDS[name]
    assert (ROOT / "scripts" / f"{name.replace('-', '_')}.py").is_file()


def test_building_the_parser_imports_the_standard_library_only():
    program = (
        "import sys; before = set(sys.modules); from keras_transfer.cli import build_parser; build_parser()\n"
        "print({name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'keras_transfer'}"


def test_help_enumerates_what_the_tables_hold(capsys):
    from keras_transfer.cli.commands.explain import METHODS
    from keras_transfer.explain.command import METHODS as KNOWN
    from keras_transfer.export.formats import FORMATS, PRECISIONS

    def listed(names) -> str:
        return f"{', '.join(list(names)[:-1])} or {list(names)[-1]}"

    export = " ".join(help_of("export", capsys=capsys).split())
    assert listed(FORMATS) in export
    assert listed(PRECISIONS) in export.replace(" (default)", "")
    assert tuple(METHODS) == tuple(KNOWN)


def test_defaults_are_those_of_the_functions():
    from keras_transfer.compare import compare
    from keras_transfer.explain.command import explain
    from keras_transfer.export import export
    from keras_transfer.inference import evaluate, predict
    from keras_transfer.parity import compare_backends
    from keras_transfer.serve.server import serve

    functions = {"compare": compare, "evaluate": evaluate, "explain": explain, "export": export,
                 "parity": compare_backends, "predict": predict, "serve": serve}  # fmt: skip
    checked = 0
    for name, function in functions.items():
        parser = ArgumentParser()
        COMMANDS[name].add_options(parser)
        for option, parameter in inspect.signature(function).parameters.items():
            default = parser.get_default(option)
            if default and parameter.default is not inspect.Parameter.empty:
                assert default == parameter.default, f"{name}: {option}"
                checked += 1
    assert checked >= 8


def test_a_command_is_a_module_and_a_line_in_the_table(capsys, monkeypatch):
    module = ModuleType("echo", "Print words.")

    def add_options(parser: ArgumentParser) -> None:
        parser.add_argument("paths", nargs="*")
        parser.add_argument("--status", type=int, default=0)

    def run(arguments) -> int:
        print(*arguments.paths)
        return arguments.status

    vars(module).update(EXAMPLES=("keras-transfer echo hello",), add_options=add_options, run=run)
    monkeypatch.setitem(COMMANDS, "echo", module)
    assert main(["echo", "hello", "--status", "3", "there"]) == 3
    assert capsys.readouterr().out == "hello there\n"
    text = help_of("echo", capsys=capsys)
    assert "Print words." in text and "keras-transfer echo hello" in text
    assert "echo" in help_of(capsys=capsys)


def test_bad_usage_is_status_2(capsys):
    for arguments in (["trian"], ["predict", "x"], ["predict", "x", "y", "--top", "0"], ["train", "--", "a", "b"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2


@pytest.fixture(scope="module")
def trained(command, tmp_path_factory):
    """Images, a run on them, and what the command said; read-only for tests."""
    folder = tmp_path_factory.mktemp("trained")
    photos, run = make_photos(folder / "photos", {"apple": 20, "berry": 20, "cherry": 20}), folder / "run"
    done = command("train", "--data", photos, *SMALL, "--output", run)
    assert done.returncode == 0, done.stderr
    return photos, run, done


@pytest.mark.backend
def test_train_and_evaluate(command, trained, tmp_path):
    _, run, done = trained
    assert done.stdout.splitlines()[-1] == f"run: {run}"
    assert "images/s" in done.stderr and "images/s" not in done.stdout
    accuracy = json.loads((run / "metrics.json").read_text())["test"]["accuracy"]
    assert accuracy > 0.7
    done = command("evaluate", run, "--json", tmp_path / "m.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "m.json").read_text())["accuracy"] == accuracy


@pytest.mark.no_cover
@pytest.mark.backend
@pytest.mark.slow
def test_evaluate_other_data_and_predict(command, trained, tmp_path):
    photos, run, _ = trained
    done = command("evaluate", run / "model.keras", "--data", photos, "--json", tmp_path / "all.json")
    assert done.returncode == 0, done.stderr
    held = list(json.loads((run / "splits.json").read_text()).values()).count("test")
    assert json.loads((tmp_path / "all.json").read_text())["n"] == held < 60  # not those that it was trained on

    berries = shutil.copytree(photos / "berry", tmp_path / "berry")
    (berries / "broken.png").write_bytes(b"broken")
    done = command("predict", run, berries, photos / "apple" / "000.png", "--json", tmp_path / "p.json",
                   "--grid", tmp_path / "grid.png")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "broken.png" in done.stderr
    predictions = json.loads((tmp_path / "p.json").read_text())
    assert len(predictions) == 22
    assert (tmp_path / "grid.png").stat().st_size > 1000
    done = command("predict", run / "model.keras", photos / "apple" / "000.png", "--top", 2)
    assert "apple" in done.stdout and done.returncode == 0


@pytest.mark.no_cover
@pytest.mark.backend
@pytest.mark.slow
def test_evaluate_keeps_the_models_label_order(command, trained, tmp_path):
    """Data with fewer classes than the model, whose folders alone would be numbered differently."""
    photos, run, _ = trained
    fewer = shutil.copytree(photos, tmp_path / "photos", ignore=shutil.ignore_patterns("apple"))
    done = command("evaluate", run, "--data", fewer, "--json", tmp_path / "m.json")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "m.json").read_text())
    assert 0 < metrics["n"] < 40 and metrics["accuracy"] > 0.7
    (fewer / "dragonfruit").mkdir()
    shutil.copy(fewer / "berry" / "000.png", fewer / "dragonfruit")
    done = command("evaluate", run, "--data", fewer)
    assert done.returncode == 2 and "dragonfruit" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.backend
@pytest.mark.parametrize("kind", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_interrupting_prints_how_to_resume(photos, tmp_path, kind):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "keras_transfer", "train", "--data", str(photos), *SMALL, "--output", str(run),
               "--set", "phases.0.epochs=5000", "--set", "callbacks.early_stopping=null"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (run / "history.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(kind)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 130, errors
    assert list((run / "state").glob("*.npz")), "the signal saved the state"
    assert f"keras-transfer train --resume --output {run}" in errors
    assert "Traceback" not in errors


@pytest.mark.backend
def test_debug_shows_the_traceback(capsys, tmp_path):
    assert main(["train", "--data", str(tmp_path / "nothing"), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
