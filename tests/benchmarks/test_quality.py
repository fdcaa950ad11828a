"""The comparison of accuracies: sets, the file of results, running, tables, and the rivals on tiny sets."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import __main__ as command
from benchmarks.quality import methods, run, table, worker
from benchmarks.quality.cells import Cells, Key
from benchmarks.quality.rival_files import read_cell
from benchmarks.quality.sets import HELD, TUNE, ImageSet, find_sets, lay_out, open_set, subset
from keras_transfer.errors import UserError
from tests.conftest import ROOT, make_photos


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two sets, of which one is an archive."""
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path / "cache"))
    sets = tmp_path / "sets"
    for name in ("fruit", "nuts"):
        make_photos(sets / name / "train", {"b": 9, "a": 5})
        make_photos(sets / name / "test", {"b": 4, "a": 2}, seed=1)
    with tarfile.open(sets / "nuts.tar", "w") as tar:
        tar.add(sets / "nuts", "nuts")
    shutil.rmtree(sets / "nuts")
    return sets


# --- sets


def test_the_sets_of_the_splits_differ():
    assert not set(TUNE) & set(HELD)


def test_folders_and_archives_give_the_same_set(folder):
    found = find_sets(folder)
    assert list(found) == ["fruit", "nuts"] and found["nuts"].name == "nuts.tar"
    fruit, nuts = (open_set(name, path) for name, path in found.items())
    assert fruit.classes == ("a", "b") and fruit.train_labels.tolist() == [0] * 5 + [1] * 9
    assert [path.parts[-3:] for path in fruit.train] == [path.parts[-3:] for path in nuts.train]
    assert fruit.test_labels.tolist() == nuts.test_labels.tolist() == [0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("sizes", [[5, 9], [50, 3, 47], [1, 1, 98], [10] * 10])
@pytest.mark.parametrize("size", [12, 14, 40])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_subset_keeps_the_shares_of_the_classes(sizes, size, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    chosen = subset(labels, size, seed)
    counts = np.bincount(labels[chosen], minlength=len(sizes))
    ideal = np.array(sizes) * min(size, len(labels)) / len(labels)
    assert 0 <= len(chosen) - min(size, len(labels)) <= (ideal < 1).sum() and (np.diff(chosen) > 0).all()
    assert (counts >= 1).all() and (np.abs(counts - np.maximum(ideal, 1)) <= 1).all()
    assert chosen.tolist() == subset(labels, size, seed).tolist()


def test_subsets_differ_by_seed_and_have_one_of_each_class():
    labels = np.repeat([0, 1, 2], 30)
    assert subset(labels, 10, 0).tolist() != subset(labels, 10, 1).tolist()
    assert labels[subset(labels, 2, 0)].tolist() == [0, 1, 2]


@pytest.mark.parametrize("links", [True, False])
def test_what_is_laid_out_is_what_was_chosen(folder, tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr("os.symlink", lambda *paths: (_ for _ in ()).throw(OSError("no links")))
    images = open_set("fruit", folder / "fruit")
    lay_out(images, np.array([0, 5, 6]), tmp_path / "made")
    made = open_set("fruit", tmp_path / "made")
    assert [path.read_bytes() for path in made.train] == [images.train[i].read_bytes() for i in (0, 5, 6)]
    assert [path.name for path in made.test] == [path.name for path in images.test]
    assert made.train[0].is_symlink() is links


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sets", "fruits"], "unknown set 'fruits'; did you mean 'fruit'?"),
        (["--methods", "prob"], "unknown method 'prob'; did you mean 'probe'?"),
        (["--sizes", "0"], "--sizes takes numbers from 1 up"),
        (["--json", "results.txt"], "expected a name that ends in .json"),
    ],
)
def test_bad_options_are_status_2_before_anything_runs(folder, arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(run, "run_cell", lambda *a: pytest.fail("it ran"))
    assert command.main([str(folder), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_sets_that_are_none_are_errors(folder, tmp_path):
    with pytest.raises(UserError, match="no image sets"):
        find_sets(folder / "fruit" / "train" / "a")
    shutil.rmtree(folder / "fruit" / "train" / "a")
    with pytest.raises(UserError, match="at least two classes"):
        open_set("fruit", folder / "fruit")


# --- the file of results


def test_cells_of_several_writers_are_all_kept(tmp_path):
    file = tmp_path / "q.json"
    keys = [Key("s", 100, seed, "probe") for seed in range(20)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: Cells(file).put(key, {"status": "ok", "accuracy": key.seed / 20}), keys))
    assert {key: cell["accuracy"] for key, cell in Cells(file).read().items()} == {key: key.seed / 20 for key in keys}


def test_a_claimed_cell_is_nobody_elses(tmp_path):
    one, other, key = Cells(tmp_path / "q.json"), Cells(tmp_path / "q.json"), Key("s", 1, 0, "probe")
    with one.claim(key) as mine, other.claim(key) as theirs, other.claim(key._replace(seed=1)) as another:
        assert (mine, theirs, another) == (True, False, True)
    with other.claim(key) as theirs:
        assert theirs


def test_another_json_file_is_refused(tmp_path):
    (tmp_path / "q.json").write_text('{"cases": []}')
    with pytest.raises(UserError, match="expected a file that this program has written"):
        Cells(tmp_path / "q.json").read()


# --- running


@pytest.fixture
def rivals(monkeypatch):
    """Stand-ins for the methods, in this process; returns the names of those that ran."""
    ran = []

    def good(task):
        ran.append("good")
        right = np.eye(2)[task.images.test_labels]
        right[0] = right[0][::-1]  # wrong for the first image
        return methods.Outcome(np.log(0.8 * right + 0.1), 1.5)

    def bad(task):
        ran.append("bad")
        raise ValueError("no such\nthing")

    def broken(task):
        return methods.Outcome(np.full((len(task.images.test), 2), np.nan), 1.0)

    table_of_methods = {"probe": good, "native": bad, "recipe": broken}
    monkeypatch.setattr(command, "METHODS", table_of_methods)
    monkeypatch.setattr(worker, "METHODS", table_of_methods)
    monkeypatch.setattr(run, "_call", lambda arguments, timeout: "" if worker.main(*arguments) == 0 else "ended")
    return ran


@pytest.mark.backend
def test_each_cell_is_measured_once_and_failures_on_request(folder, rivals, tmp_path, capsys):
    file = tmp_path / "q.json"
    arguments = [str(folder), "--sizes", "6", "--seeds", "0", "--json", str(file), "--sets", "nuts"]
    assert command.main(arguments) == 0
    cells = Cells(file).read()
    good, bad = (cells[Key("nuts", 6, 0, name)] for name in ("probe", "native"))
    assert (good["correct"], good["n_train"], good["n_test"], good["seconds"]) == ("011111", 6, 6, 1.5)
    assert good["accuracy"] == pytest.approx(5 / 6)
    assert good["log_loss"] == pytest.approx(-(5 * np.log(0.9) + np.log(0.1)) / 6, abs=1e-5)
    assert good["ece"] == pytest.approx(0.9 - 5 / 6, abs=1e-5)
    assert good["versions"]["scikit-learn"]
    assert "not finite" in cells[Key("nuts", 6, 0, "recipe")]["error"]
    assert bad["status"] == "failed" and bad["error"] == "ValueError: no such thing"
    assert command.main(arguments) == 0 and rivals == ["good", "bad"]
    assert command.main([*arguments, "--retry"]) == 0 and rivals == ["good", "bad", "bad"]
    assert "nuts, 6 images, seed 0, native: ValueError: no such thing" in capsys.readouterr().err


def test_an_interruption_loses_only_the_running_cell(folder, rivals, tmp_path, monkeypatch, capsys):
    file = tmp_path / "q.json"
    whole = run.run_cell

    def interrupted(key, *arguments):
        if key.method == "native":
            raise KeyboardInterrupt
        return whole(key, *arguments)

    monkeypatch.setattr(run, "run_cell", interrupted)
    assert command.main([str(folder), "--sizes", "6", "--json", str(file)]) == 130
    assert [str(key) for key in Cells(file).read()] == ["fruit, 6 images, seed 0, probe"]
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("timeout", "error"), [(0.01, "took more than 0 s"), (60.0, "KeyError: 'nothing'")], ids=["slow", "broken"]
)
def test_a_process_that_fails_or_hangs_is_recorded(folder, timeout, error):
    cell = run.run_cell(Key("fruit", 6, 0, "nothing"), open_set("fruit", folder / "fruit"), timeout)
    assert cell["status"] == "failed" and cell["error"] == error


# --- tables


def _cell(correct: str, ece: float = 0.0, seconds: float = 1.0) -> dict:
    accuracy = correct.count("1") / len(correct)
    return {"status": "ok", "accuracy": accuracy, "correct": correct, "ece": ece, "seconds": seconds}


CELLS = {
    Key("s", 100, 0, "probe"): _cell("1100", 0.1),
    Key("s", 100, 1, "probe"): _cell("1000", 0.2),
    Key("t", 100, 0, "probe"): _cell("1111", 0.3),
    Key("s", 100, 0, "native"): _cell("1110", 0.0, 8.0),
    Key("s", 100, 1, "native"): _cell("1110", 0.1, 9.0),
    Key("t", 100, 0, "native"): _cell("0111", 0.5, 7.0),
}


def test_figures_are_those_of_numpy():
    gains = np.array([0.25, 0.5, -0.25])
    mean, error = table.difference(CELLS, "native")
    assert mean == pytest.approx(gains.mean()) and error == pytest.approx(gains.std(ddof=1) / np.sqrt(3))
    name, lowest, paired = table.worst_set(CELLS, "native")
    assert (name, lowest) == ("t", -0.25)
    assert paired == pytest.approx(np.std([-1, 0, 0, 0], ddof=1) / 2)
    only = {key: cell for key, cell in CELLS.items() if key.set == "s"}
    _, lowest, paired = table.worst_set(only, "native")
    per_image = np.mean([[0, 0, 1, 0], [0, 1, 1, 0]], axis=0)
    assert lowest == pytest.approx(per_image.mean()) and paired == pytest.approx(per_image.std(ddof=1) / 2)
    assert table.mean_ranks(CELLS, ["probe", "native"]) == pytest.approx({"probe": 5 / 3, "native": 4 / 3})


def test_only_shared_cells_are_compared_and_others_are_named():
    cells = {
        **CELLS,
        Key("u", 100, 0, "probe"): _cell("0000"),
        Key("u", 100, 0, "native"): {"status": "failed", "error": "out of memory", "seconds": 1.0},
    }
    text = table.report(cells, ["probe", "native"])
    assert "3 cells that all methods share, of 4 cells." in text
    assert "| `native` | 75.00 % | 1.33 | +16.67 ± 22.05 | t -25.00 ± 25.00 | 20.00 % | 50.00 % | 8 |" in text
    assert "| s | 100 | 37.5 | 75.0 |" in text and "| u |" not in text
    assert "left out: u, 100 images, seed 0: no result of native" in text and "native: out of memory" in text


def test_figures_that_an_imported_cell_lacks_are_dashes():
    bare = {key: {k: v for k, v in cell.items() if k not in ("correct", "ece")} for key, cell in CELLS.items()}
    cells = {key: bare[key] if key.method == "native" else cell for key, cell in CELLS.items()}
    assert "| `native` | 75.00 % | 1.33 | +16.67 ± 22.05 | t -25.00 | – | – | 8 |" in table.report(
        cells, ["probe", "native"]
    )


def test_a_split_limits_the_table(tmp_path, capsys):
    file = tmp_path / "q.json"
    for name in (TUNE[0], HELD[0]):
        Cells(file).put(Key(name, 100, 0, "probe"), _cell("10"))
    assert command.main(["--table", "--split", "held", "--json", str(file)]) == 0
    text = capsys.readouterr().out
    assert HELD[0] in text and TUNE[0] not in text


def test_a_rivals_file_gives_a_cell_that_a_measured_one_replaces(tmp_path, capsys):
    lines = "my_set_100_0 head 3 acc 0.7300 16 s\nmy_set_100_0 all 25 acc 0.8433 266 s\n"
    (tmp_path / "r.txt").write_text(lines)
    key, cell = read_cell(tmp_path / "r.txt")
    assert key == Key("my_set", 100, 0, "native") and (cell["accuracy"], cell["seconds"]) == (0.8433, 266)
    file = tmp_path / "q.json"
    assert command.main(["--import", str(tmp_path / "r.txt"), "--json", str(file)]) == 0
    assert Cells(file).read() == {key: cell}
    Cells(file).put(key, _cell("11"))
    assert command.main(["--import", str(tmp_path / "r.txt"), "--json", str(file)]) == 0
    assert Cells(file).read()[key]["accuracy"] == 1.0
    (tmp_path / "r.txt").write_text("nothing\n")
    assert command.main(["--import", str(tmp_path / "r.txt"), "--json", str(file)]) == 2
    assert "no line like" in capsys.readouterr().err


# --- the methods


def test_the_probe_learns_from_stored_features(folder, tmp_path, monkeypatch):
    computed = []

    def brightness(paths, mirrored=False):
        import cv2

        computed.append(len(paths))
        rows = [cv2.imread(str(path)).mean(axis=(0, 1)) / 255 for path in paths]
        return np.array(rows, np.float32), np.full(len(paths), 0.5)

    monkeypatch.setattr("benchmarks.quality.features.compute", brightness)
    task = methods.Task("fruit", folder / "fruit", 0, tmp_path)
    outcome = methods.probe(task)
    assert (outcome.logits.argmax(axis=1) == task.images.test_labels).all()
    assert 7.0 <= outcome.seconds < 60  # half a second of each of the 14 images, and the fit
    assert methods.probe(task, c=1.0).logits.shape == (6, 2) and computed == [14, 6]


@pytest.mark.parametrize("classes", [2, 3])
def test_the_logits_of_the_probe_give_its_probabilities(classes, monkeypatch, tmp_path, folder):
    from scipy.special import softmax
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), 10)
    rows = rng.normal(size=(len(labels), 4)).astype(np.float32)
    images = ImageSet("s", tuple("abc"[:classes]), (Path("train"),), labels, (Path("test"),), labels)
    task = methods.Task("s", folder, 0, tmp_path)
    task.__dict__["images"] = images
    monkeypatch.setattr("benchmarks.quality.features.pooled", lambda paths, name: (rows, np.zeros(len(rows))))
    reference = LogisticRegression(C=1.0, max_iter=2000).fit(rows.astype(np.float64), labels).predict_proba(rows)
    np.testing.assert_allclose(softmax(methods.probe(task, c=1.0).logits, axis=1), reference, rtol=1e-9)


def test_the_penalty_is_the_best_in_cross_validation():
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    features = rng.normal(size=(60, 5)) + 0.8 * np.eye(5)[labels]
    right = dict.fromkeys(methods.CS, 0)
    for fit, held in StratifiedKFold(methods.FOLDS, shuffle=True, random_state=3).split(features, labels):
        for c in methods.CS:
            model = LogisticRegression(C=c, max_iter=2000).fit(features[fit], labels[fit])
            right[c] += int((model.predict(features[held]) == labels[held]).sum())
    found = methods.logistic_regression(features, labels, 3, None)
    assert len(set(right.values())) > 1 and found.best_params_["C"] == max(right, key=lambda c: right[c])


@pytest.mark.backend
@pytest.mark.exhaustive
def test_the_features_are_those_of_the_network_written_by_hand(folder, backend):
    torch = pytest.importorskip("torch")
    import cv2

    from benchmarks.quality.features import SIZE, pooled
    from benchmarks.quality.native import pretrained

    paths = open_set("fruit", folder / "fruit").test
    mine, _ = pooled(paths, "fruit")
    network = pretrained(2).eval()
    images = [cv2.resize(cv2.imread(str(path)), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR) for path in paths]
    batch = torch.from_numpy(np.stack(images)[..., ::-1].copy()).permute(0, 3, 1, 2)
    with torch.no_grad():
        theirs = network[:-2](batch).numpy()
    np.testing.assert_allclose(mine, theirs, atol=2e-3)
    again, _ = pooled(paths[::-1], "fruit")
    np.testing.assert_array_equal(again, mine[::-1])


@pytest.mark.exhaustive
def test_the_expert_learns_easy_images(folder):
    pytest.importorskip("torch")
    from benchmarks.quality import native

    images = open_set("fruit", folder / "fruit")
    network, seconds = native.fine_tune(images.train, images.train_labels, 2, seed=0, head_epochs=4, epochs=2)
    logits = native.predict(network, images.test)
    assert logits.shape == (6, 2) and logits.dtype == np.float32 and seconds > 0
    assert (logits.argmax(axis=1) == images.test_labels).mean() >= 5 / 6
    again, _ = native.fine_tune(images.train, images.train_labels, 2, seed=0, head_epochs=4, epochs=2)
    np.testing.assert_allclose(native.predict(again, images.test), logits, atol=0.05)


@pytest.mark.parametrize(("grey", "mirrored"), [(False, True), (True, False)])
def test_the_recipe_is_a_complete_configuration(grey, mirrored):
    from benchmarks.quality.recipe import recipe
    from keras_transfer.config.load import validate
    from keras_transfer.data.statistics import DataStatistics

    statistics = DataStatistics(340, 60, 300, 2, {"a": 240, "b": 100}, 2.4, 224, grey)
    config = validate(recipe(statistics, mirrored))
    assert config.data.color == ("grey" if grey else "rgb") and config.data.class_weights == "sqrt"
    assert [phase.epochs for phase in config.phases] == [10, 24]
    assert (str(config.data.augment).count("horizontal_flip") == 1) is mirrored


@pytest.mark.backend
@pytest.mark.exhaustive
def test_a_training_command_gives_logits_of_the_test_images(folder, tmp_path):
    task = methods.Task("fruit", folder / "fruit", 0, tmp_path)
    tiny = ["model.backbone=tiny", "model.weights=none", "data.image_size=32", "data.augment=[]", "phases.0.epochs=1"]
    options = [word for value in tiny for word in ("--set", value)]
    outcome = methods.train(task, *options)
    assert outcome.logits.shape == (6, 2) and outcome.seconds > 0
    np.testing.assert_allclose(np.exp(outcome.logits).sum(axis=1), 1, atol=1e-6)
    with pytest.raises(UserError, match="image_size"):
        methods.train(task, "--set", "data.image_sise=32")


def test_the_module_has_a_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.quality", "--help"], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0 and "--retry" in done.stdout and "standard-kt" in done.stdout


def test_results_in_the_repository_are_readable():
    cells = Cells(command.JSON).read()
    assert cells and all(key.method in methods.METHODS for key in cells)
    assert all(
        cell["accuracy"] == pytest.approx(cell["correct"].count("1") / cell["n_test"])
        for cell in cells.values()
        if cell["status"] == "ok" and "correct" in cell
    )
