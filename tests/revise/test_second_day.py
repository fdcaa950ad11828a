"""The second day as a person has it: correct pictures on the page, add a class there, train with them, read the report. In a real browser."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import make_photos
from tests.revise.test_revise import SETTINGS
from tests.serve.conftest import start_site

pytestmark = [pytest.mark.backend, pytest.mark.slow, pytest.mark.exhaustive]


def wait(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 300, 0.1).until(lambda _: condition())


def look(browser, name: str) -> None:
    """Check that nothing sticks out, light and dark, at 390 and 1280 pixels; keep pictures in the folder LOOK, if it is set."""
    for scheme in ("light", "dark"):
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        for width in (390, 1280):
            metrics = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            assert browser.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0, (
                name,
                width,
            )
            if "LOOK" in os.environ:
                browser.save_screenshot(str(Path(os.environ["LOOK"]) / f"{name}-{scheme}-{width}.png"))
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def done(browser, count: int):
    found = browser.find_elements("css selector", ".card:not([aria-busy])")
    return found if len(found) == count else None


def correct(browser, card, label: str) -> None:
    """Press the button of a class, or enter a new one and add it; once it is there, save it as any other."""
    known = [one for one in card.find_elements("css selector", ".names button") if one.text == label]
    if not known:
        card.find_element("css selector", "input[name=label]").send_keys(label)
        new = card.find_element("css selector", ".new")
        known = [new if new.is_displayed() else card.find_element("css selector", "form > button:not(.new)")]
    known[0].click()
    wait(browser, lambda: f"Saved as “{label}”" in card.find_element("css selector", ".saved").text)


def test_from_corrections_on_the_page_to_the_regression_report(browser, tmp_path):
    from keras_transfer import load, load_config, train
    from keras_transfer.inference import start
    from keras_transfer.revise.retrain import retrain
    from keras_transfer.serve.predictor import Predictor

    make_photos(tmp_path / "photos", {"apple": 20, "big berry": 20, "cherry": 20})
    new = make_photos(tmp_path / "new", {"x": 3, "y": 4}, seed=7)
    run = train(
        load_config(data=tmp_path / "photos", output=tmp_path / "run", overrides=SETTINGS), say=lambda line: None
    )
    model, metadata, _ = start(run.path, None, None)
    predictor = Predictor(model, metadata)
    predictor.warm_up()
    site, stop = start_site(run.path / "corrections", predictor)
    try:
        browser.get(site.url)
        files = sorted(new.rglob("*.png"))
        for file in files:
            shutil.copy(file, tmp_path / f"{file.parent.name}{file.name}")
        names = [str(tmp_path / f"{file.parent.name}{file.name}") for file in files]
        browser.find_element("css selector", "#files").send_keys("\n".join(names))
        cards = wait(browser, lambda: done(browser, 7))
        for card, label in zip(cards, ["apple", "big berry", "cherry", *["date palm"] * 4]):
            correct(browser, card, label)
        look(browser, "serve")
    finally:
        stop()
    made = retrain(run.path, head_only=True, output=tmp_path / "better", say=lambda line: None)
    assert made.notes[0].endswith("7 new pictures")
    browser.get_log("browser")
    browser.get((tmp_path / "better" / "regression.html").as_uri())
    title = browser.find_element("css selector", "h1").text
    assert title in ("Take the new model", "Keep the old model", "Undecided")
    assert "new class date palm: 4 pictures to train on" in browser.find_element("css selector", "header").text
    assert list(load(made.new).classes) == ["apple", "big berry", "cherry", "date palm"]
    look(browser, "regression")
    assert browser.get_log("browser") == []
