#!/usr/bin/env python3
"""The web page in a real browser: Chromium by its driver, against the real server.

    browser.py PAGESIGHT INDEX [--screenshots FOLDER] [--axe axe.min.js]

INDEX is a folder made by `pagesight index` with nano, of the PDFs form.pdf and slides.pdf. Needs the
package selenium, and chromium with chromedriver on PATH; `make test-browser` installs the first and
says where the second is missing.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

TOKEN = "a-token-of-more-than-16-letters"


class Server:
    """A running `pagesight serve`, ended with the block."""

    def __init__(self, program, index, *arguments, **environment):
        self.command = [program, "serve", "--bind", "127.0.0.1:0", "--json", "--quiet", *arguments, index]
        self.environment = {**os.environ, **environment}

    def __enter__(self):
        self.child = subprocess.Popen(self.command, stdout=subprocess.PIPE, env=self.environment)
        self.url = json.loads(self.child.stdout.readline())["url"]
        return self

    def __exit__(self, *_):
        self.child.terminate()
        self.child.wait(timeout=20)


def browser(width=1280, height=900):
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} not found: on Debian `apt-get install chromium chromium-driver`")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--force-color-profile=srgb"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={width},{height}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


class Page:
    """The page under test, with the few things that the checks below do to it."""

    def __init__(self, driver, axe, screenshots):
        self.driver, self.axe, self.screenshots = driver, axe, screenshots

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def until(self, what, seconds=20):
        return WebDriverWait(self.driver, seconds).until(lambda _: what())

    def shown(self, selector):
        return any(element.is_displayed() for element in self.all(selector))

    def press(self, keys):
        self.driver.switch_to.active_element.send_keys(keys)

    def loaded(self, selector):
        script = "return [...document.querySelectorAll(arguments[0])].every(i => i.complete && i.naturalWidth > 0)"
        return self.all(selector) and self.driver.execute_script(script, selector)

    def search(self, text):
        box = self.one("#q")
        box.clear()
        box.send_keys(text + Keys.ENTER)
        self.until(lambda: self.one("#results").get_attribute("aria-busy") == "false")

    def shot(self, name):
        if self.screenshots:
            self.driver.save_screenshot(str(self.screenshots / f"{name}.png"))

    def check(self, name):
        """No serious or critical finding of axe, nothing wider than the window, light and dark."""
        for scheme in ("light", "dark"):
            self.driver.execute_cdp_cmd(
                "Emulation.setEmulatedMedia",
                {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
            )
            wide = self.driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{name}: {wide} px wider than the window"
            self.shot(f"{name}-{scheme}")
            if not self.axe:
                continue
            self.driver.execute_script(self.axe)
            found = self.driver.execute_async_script(
                "axe.run().then(r => arguments[0](r.violations.map(v => [v.impact, v.id, v.nodes.map(n => n.html)])))"
            )
            bad = [finding for finding in found if finding[0] in ("serious", "critical")]
            assert not bad, f"{name}, {scheme}: {bad}"
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def walk(page, url):
    """A person's way: searching, heat, the viewer, keys, links, filters."""
    page.driver.get(url)
    page.until(lambda: page.shown("#welcome"))
    assert len(page.all("[data-try]")) == 3 and "pages of" in page.one("#holds").text
    page.check("welcome")
    page.search("travel expenses in total")
    hits = page.all("#results [data-ref]")
    assert hits and all(hit.get_attribute("role") == "listitem" for hit in hits)
    page.until(lambda: page.loaded("#results [data-ref]:first-child img"))
    first = page.one("#results [data-ref] img")
    assert first.get_attribute("alt").startswith("Page 1 of ") and first.get_attribute("loading") == "lazy"
    assert page.all("#results mark") and " ms" in page.one("#status").text
    assert "q=travel+expenses" in page.driver.current_url
    page.check("results")

    buttons = page.all("#words [data-word]")
    assert [button.get_attribute("data-word") for button in buttons] == ["0", "1", "2", "3", "all"], buttons
    buttons[1].click()
    assert buttons[1].get_attribute("aria-pressed") == "true"
    page.until(lambda: page.loaded("#results [data-ref]:first-child img.heat"))
    box = page.driver.execute_script(
        "const of = e => { const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height] };"
        "const li = document.querySelector('#results [data-ref]');"
        "return [of(li.querySelector('img:not(.heat)')), of(li.querySelector('img.heat'))]"
    )
    assert all(abs(a - b) < 1 for a, b in zip(*box)), f"the heat lies beside the picture: {box}"
    assert page.one("img.heat").get_attribute("aria-hidden") == "true"
    page.check("heat")
    buttons[1].click()
    assert not page.all("img.heat")

    page.driver.execute_script("document.activeElement.blur()")
    page.one("body").send_keys("j")
    page.press(Keys.ENTER)
    page.until(lambda: page.shown("#viewer"))
    page.until(lambda: page.all("#sheet .region") and page.loaded("#sheet img"))
    assert page.one("#viewer").get_attribute("aria-modal") == "true"
    inside = "return document.getElementById('viewer').contains(document.activeElement)"
    assert page.driver.execute_script(inside), "the focus is not in the viewer"
    assert page.one("#said").text and "Open PDF at page" in page.one("#pdf").text
    sheet, region = page.one("#sheet").rect, page.one("#sheet .region").rect
    assert region["x"] >= sheet["x"] - 1 and region["width"] <= sheet["width"] + 1, (sheet, region)
    page.press("h")
    page.until(lambda: page.loaded("#sheet img.heat"))
    page.check("viewer")
    for _ in range(12):
        page.press(Keys.TAB)
        assert page.driver.execute_script(inside), "the focus left the viewer"
    address = page.driver.current_url
    page.press(Keys.ESCAPE)
    assert not page.shown("#viewer")
    opener = "return document.activeElement.closest('[data-ref]') !== null"
    assert page.driver.execute_script(opener), "the focus did not come back"
    page.one("body").send_keys("?")
    assert page.shown("#keys")
    page.check("keys")
    page.press(Keys.ESCAPE)
    page.driver.get(address)
    page.until(lambda: page.shown("#viewer") and page.all("#results [data-ref]"))
    page.driver.back()

    page.driver.get(url + "/?q=travel&channel=text&path=nowhere/**")
    page.until(lambda: page.shown("#empty"))
    assert page.one("#path").get_attribute("value") == "nowhere/**" and "filters" in page.one("#empty").text
    page.check("empty")
    page.driver.get(url + "/?q=xqzzyv")
    page.until(lambda: page.shown("#empty") or page.all("#results [data-ref]"))
    page.shot("nonsense")
    page.one("#theme").click()
    assert page.driver.execute_script("return document.documentElement.dataset.theme") == "light"


def sizes(page, url):
    """Narrow and wide windows show the same without sideways scrolling."""
    for width, height in ((320, 640), (768, 1024), (3840, 2160)):
        page.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        page.driver.get(url + "/?q=travel+expenses+in+total")
        page.until(lambda: page.loaded("#results [data-ref]:first-child img"))
        wide = page.driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{wide} px wider than {width} px"
        page.shot(f"results-{width}")
        page.one("#results .open").click()
        page.until(lambda: page.loaded("#sheet img"))
        time.sleep(0.3)
        page.shot(f"viewer-{width}")
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def tokens(page, url):
    """A token is asked for, a wrong one is said, the right one opens and is nowhere to be read."""
    page.driver.get(url)
    page.until(lambda: page.shown("#login"))
    page.check("login")
    word = page.one("#login input")
    word.send_keys("a-wrong-token-of-some-length" + Keys.ENTER)
    page.until(lambda: "not the token" in page.one("#login-said").text)
    word.clear()
    word.send_keys(TOKEN + Keys.ENTER)
    page.until(lambda: page.shown("#welcome"))
    kept = page.driver.execute_script(
        "return document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + "
        "[...document.querySelectorAll('input')].map(i => i.value).join()"
    )
    assert TOKEN not in kept and "pagesight_session" not in kept


def upload(page, url, pdf):
    """With --write a PDF that is given is indexed and found."""
    page.driver.get(url)
    page.until(lambda: page.shown("#drop"))
    page.one("#drop input[type=file]").send_keys(str(pdf))
    page.until(lambda: "ready to be found" in page.one("#drop ul").text, 120)
    page.check("uploaded")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("program")
    arguments.add_argument("index")
    arguments.add_argument("--screenshots", type=pathlib.Path)
    arguments.add_argument("--axe", type=pathlib.Path)
    arguments.add_argument("--upload", type=pathlib.Path, required=True, help="a PDF that is not in INDEX")
    asked = arguments.parse_args()
    if asked.screenshots:
        asked.screenshots.mkdir(parents=True, exist_ok=True)
    driver = browser()
    page = Page(driver, asked.axe and asked.axe.read_text(), asked.screenshots)
    try:
        with Server(asked.program, asked.index) as server:
            walk(page, server.url)
            sizes(page, server.url)
            page.driver.get(server.url)
        page.search("after the end")
        page.until(lambda: page.shown("#error"))
        assert "Not connected" in page.one("#error").text
        page.check("not-connected")
        with Server(asked.program, asked.index, PAGESIGHT_TOKEN=TOKEN) as server:
            tokens(page, server.url)
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder) / ".pagesight"
            shutil.copytree(asked.index, copy)
            with Server(asked.program, str(copy), "--write") as server:
                upload(page, server.url, asked.upload.resolve())
        refused = [line for line in driver.get_log("browser") if "Content Security Policy" in line["message"]]
        assert not refused, refused
    finally:
        driver.quit()
    print("the page does in a browser what it should")


if __name__ == "__main__":
    main()
