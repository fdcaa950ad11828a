from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
from matplotlib import font_manager

from keras_transfer import formatting, plots
from keras_transfer.plots import fonts


@pytest.fixture(autouse=True)
def fresh():
    """No font list and no warning from an earlier test."""
    before, installed = set(fonts._warned), fonts._installed  # a test may replace it
    fonts._warned.clear()
    fonts._installed.cache_clear()
    yield
    fonts._warned.clear()
    fonts._warned.update(before)
    installed.cache_clear()


def no_warning(work):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return work()


@pytest.fixture
def only_base(monkeypatch):
    """As if no font but matplotlib's own were installed."""
    monkeypatch.setattr(fonts, "_installed", lambda: [])


@pytest.fixture
def with_cat_font(tmp_path, monkeypatch):
    """A font, known to matplotlib, whose only glyph stands for the Chinese character for cat."""
    from fontTools.ttLib import TTFont

    font = TTFont(font_manager.findfont("DejaVu Sans"))
    glyph = font.getBestCmap()[ord("W")]
    for table in font["cmap"].tables:
        table.cmap = {ord("猫"): glyph}
    for record in font["name"].names:
        if record.nameID in (1, 3, 4, 6, 16):
            record.string = "Cat Sans"
    path = tmp_path / "CatSans.ttf"
    font.save(path)
    known = font_manager.fontManager.ttflist
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(known))
    font_manager.fontManager.addfont(path)
    fonts._installed.cache_clear()
    return path


def test_what_the_base_font_has_needs_no_other(only_base):
    assert no_warning(lambda: fonts.families_for(["cat", "собака", "γάτα", "قطة", "é…"])) == ["DejaVu Sans"]


def test_missing_characters_are_named_once_with_a_suggestion(only_base, tmp_path):
    with pytest.warns(UserWarning, match=r"no installed font has 犬猫: .*Noto Sans CJK") as caught:
        plots.confusion([[1, 2], [3, 4]], ["猫", "犬"], tmp_path / "a.png")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    no_warning(lambda: plots.confusion([[1, 2], [3, 4]], ["猫", "犬"], tmp_path / "b.png"))
    no_warning(lambda: plots.prediction_grid([[[0]]], ["猫"], tmp_path / "c.png"))
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(("text", "suggestion"), [("한", "CJK"), ("ひ", "CJK"), ("ก", "noto-core"), ("🐈", "Noto")])
def test_the_suggestion_fits_the_script(only_base, text, suggestion):
    with pytest.warns(UserWarning, match=suggestion):
        fonts.families_for([text])


def test_many_missing_characters_are_counted(only_base):
    with pytest.warns(UserWarning, match=r"… \(100 characters\)"):
        fonts.families_for(["".join(chr(0x4E00 + k) for k in range(100))])


def test_an_installed_font_with_the_glyphs_is_found(with_cat_font, tmp_path):
    families = no_warning(lambda: fonts.families_for(["a cat: 猫"]))
    assert families[0] == "DejaVu Sans"
    assert len(families) == 2


def test_a_class_name_is_really_drawn_with_the_font_found(with_cat_font, tmp_path):
    no_warning(lambda: plots.prediction_grid([[[0]]], ["猫"], tmp_path / "cat.png"))
    no_warning(lambda: plots.prediction_grid([[[0]]], ["W"], tmp_path / "w.png"))
    if "Cat Sans" in fonts.families_for(["猫"]):  # on a machine with a Chinese font, that one may come first
        assert (tmp_path / "cat.png").read_bytes() == (tmp_path / "w.png").read_bytes()


def test_only_the_fonts_that_are_needed_are_taken(monkeypatch):
    charmaps = {"one": {"猫"}, "two": {"猫", "犬"}, "three": {"鳥"}, fonts._path_of("DejaVu Sans"): {"a"}}
    monkeypatch.setattr(fonts, "_installed", lambda: [(name, name) for name in ("one", "two", "three")])
    monkeypatch.setattr(fonts, "_characters", lambda path: frozenset(charmaps[path]))
    assert no_warning(lambda: fonts.families_for(["a猫"])) == ["DejaVu Sans", "one"]
    assert no_warning(lambda: fonts.families_for(["猫犬"])) == ["DejaVu Sans", "one", "two"]
    assert no_warning(lambda: fonts.families_for(["鳥"])) == ["DejaVu Sans", "three"]


def test_fonts_made_for_reading_come_first_and_the_last_resort_never(monkeypatch):
    class Entry:
        style, weight = "normal", 400

        def __init__(self, name):
            self.name, self.fname = name, __file__

    entries = [Entry(n) for n in ("Aardvark", "Noto Color Emoji", "Last Resort High-Efficiency", "Noto Sans CJK JP")]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", entries)
    fonts._installed.cache_clear()
    assert [name for name, _ in fonts._installed()] == ["Noto Sans CJK JP", "Aardvark"]


def test_a_broken_font_file_is_passed_over(tmp_path):
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"not a font")
    assert fonts._characters(str(broken)) == frozenset()


def test_invisible_and_broken_characters_do_no_harm(only_base, tmp_path):
    name = os.fsdecode(b"caf\xe9") + "\x00\x07\u200f\u200d\n\u2028"
    no_warning(lambda: plots.confusion([[1, 2], [3, 4]], [name, "b"], tmp_path / "a.png"))
    assert formatting.printable(os.fsdecode(b"\xe9") + "\tx") == "? x"


def test_debians_chinese_fonts_where_installed(tmp_path):
    if not any("CJK" in f.name or "WenQuanYi" in f.name for f in font_manager.fontManager.ttflist):
        pytest.skip("no Chinese font installed")
    no_warning(lambda: plots.confusion([[1, 2], [3, 4]], ["猫", "犬"], tmp_path / "a.png"))
    assert Path(tmp_path / "a.png").exists()
