"""Each kind of thing is added from outside the package, and works in the commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from keras_transfer.errors import UserError
from keras_transfer.models.backbones import Backbone
from keras_transfer.registry import Registry
from tests.conftest import ROOT

HERE = Path(__file__).parent
QUICK = [
    *("--set", "phases=[{name: all, epochs: 2, learning_rate: 0.01}]", "--set", "model.weights=none"),
    *("--set", "data.image_size=16", "--set", "data.augment=[]"),
]
ENTRY_POINTS = """
[keras_transfer.backbones]
two_layers = shapes:TWO_LAYERS
tiny = shapes:TWO_LAYERS
missing = no_such_module:RECORD
a_source = shapes:LINES
misnamed = shapes:TWO_LAYERS

[keras_transfer.sources]
lines = shapes:LINES
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory) -> Path:
    """A folder of installed packages with one that adds to this one."""
    folder = tmp_path_factory.mktemp("packages")
    shutil.copy(HERE / "shapes.py", folder)
    facts = folder / "lines_and_layers-1.2.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: lines_and_layers\nVersion: 1.2\n")
    (facts / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


@pytest.fixture
def with_plugin(plugin, command):
    """Run a command where that package is installed."""
    path = os.pathsep.join([str(plugin), str(ROOT)])

    def run(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
        if arguments[0] == "-c":
            done = subprocess.run([sys.executable, *map(str, arguments)], env={**os.environ, "PYTHONPATH": path},
                                  capture_output=True, text=True, check=False)  # fmt: skip
        else:
            done = command(*arguments, PYTHONPATH=path)
        assert done.returncode == status, done.stderr
        return done

    return run


def test_a_backbone_and_a_source_with_an_option_of_another_package(with_plugin, tmp_path):
    """Entry points of a distribution are all that it takes."""
    run = tmp_path / "run"
    add = [*("--set", "data.source=lines"), *("--set", "model.backbone=two_layers")]
    options = [*("--set", "data.options.count=60"), *("--set", "data.options.thick=true")]
    with_plugin("train", *add, *options, *QUICK, "--output", run)
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    assert sum(manifest["data"]["images"].values()) == 60
    assert "n" in json.loads((run / "metrics.json").read_text("utf-8"))["test"]
    with_plugin("evaluate", run)


def test_options_of_a_source_are_the_parameters_of_its_function(with_plugin):
    code = "from keras_transfer.data.builder import load_source; load_source('lines', {})"
    assert "the data source 'lines' needs the option 'count'" in with_plugin("-c", code, status=1).stderr
    code = code.replace("{}", "{'cuont': 60}")
    assert "'lines': 'cuont'; did you mean 'count'?" in with_plugin("-c", code, status=1).stderr


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("model.backbone=missing", "the package lines_and_layers 1.2 cannot be loaded: ModuleNotFoundError"),
        ("data.source=lnes", "unknown data source 'lnes'; did you mean 'lines'?"),
    ],
)
def test_a_broken_record_is_one_line(key, reason, with_plugin, tmp_path):
    done = with_plugin("train", "quickstart", "--set", key, "--output", tmp_path / "run", status=2)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and reason in errors[0]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a_source", "cannot be loaded: shapes:LINES is a Source, not a Backbone"),
        ("misnamed", "cannot be loaded: shapes:TWO_LAYERS has the name 'two_layers'"),
        ("two_layrs", "unknown backbone 'two_layrs'; did you mean 'two_layers'?"),
    ],
)
def test_what_is_no_record_of_the_name_is_refused(name, reason, plugin, monkeypatch):
    monkeypatch.syspath_prepend(plugin)
    with pytest.raises(UserError, match=reason):
        Registry("backbone", "keras_transfer.backbones", Backbone).lookup(name)


def test_built_in_records_come_first_and_are_found_without_a_search(with_plugin):
    code = (
        "import sys; from keras_transfer.models.backbones import BACKBONES, get;"
        "from keras_transfer.data.sources import SOURCES; assert get('tiny').family == 'tiny' and 'digits' in SOURCES;"
        "assert '_entry_points' not in {**vars(BACKBONES), **vars(SOURCES)} and 'shapes' not in sys.modules;"
        "import keras_transfer as kt; print(*kt.backbones(), *SOURCES)"
    )
    done = with_plugin("-c", code)
    assert {"tiny", "two_layers", "missing", "digits", "lines"} <= set(done.stdout.split())
    assert done.stderr.count("is ignored") == 1
    assert "the backbone 'tiny' of the package lines_and_layers 1.2 is ignored: keras_transfer has one" in done.stderr


def test_a_registry_is_a_mapping_of_what_is_there():
    table = Registry("number", "keras_transfer.no_such_group", int, {"one": 1, "two": 2})
    table["three"] = 3
    del table["one"]
    assert dict(table) == {"two": 2, "three": 3} and len(table) == 2 and table.get("one") is None
    with pytest.raises(UserError, match="unknown number 'tow'; did you mean 'two'"):
        table.lookup("tow")


@pytest.mark.exhaustive
def test_an_augmentation_a_format_and_a_section(photos, tmp_path):
    """A line each in the tables of the package."""
    run = tmp_path / "run"

    def additions(*arguments: object) -> str:
        done = subprocess.run(
            [sys.executable, str(HERE / "additions.py"), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    add = [*("--set", "model.backbone=tiny"), *("--set", "data.augment=[{name: negative, least: 0}]")]
    additions("train", "--data", photos, *QUICK, *add, "--output", run)
    assert "negative" in (run / "config.yaml").read_text("utf-8")
    assert "blue over photos" in (run / "report.html").read_text("utf-8")
    assert "copy: " in additions("export", run, "copy")
    assert (run / "export" / "copy.keras").is_file()
