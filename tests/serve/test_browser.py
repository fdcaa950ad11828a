"""The page in a real headless Chromium; skipped where there is none (Debian: chromium, chromium-driver)."""

from __future__ import annotations

import pytest

from keras_transfer import data
from tests.serve.conftest import CLASSES, encoded

pytestmark = [pytest.mark.backend, pytest.mark.slow]


@pytest.fixture
def page(browser, site):
    browser.get_log("browser")
    browser.get(site.url)
    yield Page(browser)
    severe = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    # The browser logs every error response; any other message is a bug of the page.
    assert [message for message in severe if "the server responded with a status of" not in message] == []


class Page:
    """User actions on the page."""

    def __init__(self, browser):
        self.browser = browser

    def all(self, selector, within=None):
        return (within or self.browser).find_elements("css selector", selector)

    def one(self, selector, within=None):
        (found,) = self.all(selector, within)
        return found

    def choose(self, *files):
        self.one("#files").send_keys("\n".join(str(file) for file in files))

    def wait(self, condition):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.browser, 120, 0.05).until(lambda _: condition())

    def cards(self, count):
        """Wait until ``count`` cards are finished; return them, newest first."""
        self.wait(lambda: len(self.all(".card:not([aria-busy])")) == count)
        return self.all(".card")


@pytest.fixture
def files(tmp_path):
    for i, kind in enumerate(["PNG", "JPEG", "WEBP"]):
        (tmp_path / f"{i}.{kind.lower()}").write_bytes(encoded(kind, i))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "large.png").write_bytes(bytes(300_000))
    return tmp_path


def test_several_images_with_bars_and_overlay(page, site, files):
    page.choose(files / "0.png", files / "1.jpeg", files / "2.webp")
    for card, name in zip(page.cards(3), ["0.png", "1.jpeg", "2.webp"]):
        assert page.one("h2", card).text == name
        bars = page.all(".bars li", card)
        expected = site.post("/api/predict", (files / name).read_bytes())[1]["classes"]
        assert [page.one(".name", bar).text for bar in bars] == [one["name"] for one in expected]
        widths = [page.one(".fill", bar).size["width"] / page.one(".track", bar).size["width"] for bar in bars]
        assert widths == pytest.approx([one["probability"] for one in expected], abs=0.02)
        heat, image = page.one(".heat", card), page.one(".image", card)
        page.wait(lambda heat=heat: heat.get_property("naturalWidth") == 40)
        assert heat.is_displayed() and heat.rect == image.rect, "the map must cover the image"
        assert name in image.get_attribute("alt")
    page.one("#heat").click()
    assert not any(heat.is_displayed() for heat in page.all(".heat"))
    page.one("#clear").click()
    assert page.all(".card") == []


def test_bad_files_get_a_message_beside_the_good_ones(page, files):
    page.choose(files / "notes.txt", files / "0.png", files / "large.png")
    text, good, large = page.cards(3)
    assert "Not an image" in page.one(".status", text).text
    assert "larger than the limit of 0.191 MiB" in page.one(".status", large).text
    assert page.all(".bars li", good) and "failed" not in good.get_attribute("class")
    for bad in (text, large):
        assert "failed" in bad.get_attribute("class")
        assert not page.one("figure", bad).is_displayed() and not page.one("form", bad).is_displayed()


def test_correction_is_saved_for_the_next_training(page, site, files):
    page.choose(files / "1.jpeg")
    (card,) = page.cards(1)
    entry = page.one("input[name=label]", card)
    entry.send_keys("big bery")
    page.one("form button:not([type])", card).click()
    page.wait(lambda: "did you mean" in page.one(".saved", card).text)
    entry.clear()
    entry.send_keys("big berry")
    page.one("form button:not([type])", card).click()
    page.wait(lambda: "Saved as “big berry”" in page.one(".saved", card).text)
    read = data.build("list", path=site.folder / "list.txt", classes=str(site.folder / "classes.txt"), evaluation=True)
    files_of = {read.all.samples.images.path(i).read_bytes(): int(read.all.labels[i]) for i in range(len(read.all))}
    assert files_of[(files / "1.jpeg").read_bytes()] == CLASSES.index("big berry")


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_paste_and_drop(page, files, way):
    page.browser.execute_script(
        """
        const [bytes, way] = arguments;
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "given.png", { type: "image/png" }));
        const event = way === "paste"
          ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
          : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
        """,
        list((files / "0.png").read_bytes()),
        way,
    )
    (card,) = page.cards(1)
    assert page.one("h2", card).text == "given.png" and page.all(".bars li", card)


def test_usable_without_a_mouse_and_on_a_narrow_screen(page, files):
    page.choose(files / "0.png")
    page.cards(1)
    page.browser.set_window_size(500, 900)
    wide = page.browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
    page.browser.set_window_size(1000, 1000)
    assert wide <= 0, "no horizontal overflow"
    from selenium.webdriver import ActionChains, Keys

    page.browser.execute_script("document.getElementById('files').focus()")
    reached = []
    for _ in range(10):  # a button for each likely class among them
        ActionChains(page.browser).send_keys(Keys.TAB).perform()
        active = page.browser.switch_to.active_element
        reached.append(active.get_attribute("id") or active.get_attribute("name") or active.text)
    assert {"heat", "clear", "label", "Save correction"} <= set(reached)
