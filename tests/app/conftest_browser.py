"""Somebody at a real browser, headless Chromium."""

import numpy as np
import pytest
from conftest_app import wait_for

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

CAT = (451, 300)
"""Width and height of the cat."""


class Visitor:
    """Somebody at a browser."""

    def __init__(self, browser, downloads):
        self.browser, self.downloads = browser, downloads
        self.devtools("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        self.resize(1280, 1000)

    def resize(self, width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", **metrics)

    def devtools(self, command, **options):
        """Ask what the browser's developer tools can do; see https://chromedevtools.github.io/devtools-protocol."""
        return self.browser.execute_cdp_cmd(command, options)

    def open(self, address):
        self.browser.get(f"{address.split('#')[0].rstrip('/')}/static/icon.svg")  # no script runs there
        self.run("sessionStorage.clear(); localStorage.clear()")
        self.browser.get(address)
        wait_for(lambda: self.run("return document.body.dataset.ready"))

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def one(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def see(self, selector):
        return wait_for(lambda: next((one for one in self.all(selector) if one.is_displayed()), None))

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def click(self, selector, place, size):
        """Click a stage at a place in pixels of the photograph."""
        stage = self.one(selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", stage)
        width, height = self.run("const b = arguments[0].getBoundingClientRect(); return [b.width, b.height]", stage)
        x, y = place[0] * width / size[0] - width / 2, place[1] * height / size[1] - height / 2
        ActionChains(self.browser).move_to_element_with_offset(stage, round(x), round(y)).click().perform()

    def press(self, *keys):
        ActionChains(self.browser).send_keys(*keys).perform()

    def undo(self):
        ActionChains(self.browser).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()

    def marks(self, selector):
        """Return the places of the points on a board, in pixels of the photograph, by their numbers."""
        script = (
            "return [...document.querySelectorAll(arguments[0] + ' .point')]"
            ".sort((a, b) => a.textContent - b.textContent).map(p => [+p.dataset.x, +p.dataset.y])"
        )
        return self.run(script, selector)

    def downloaded(self, ending):
        return wait_for(lambda: next((p for p in self.downloads.iterdir() if p.suffix == ending), None))


def begin(visitor, page, cat_path, cheetah_path):
    visitor.open(f"{page.address}/#match")
    wait_for(lambda: visitor.all("#source-file"))
    visitor.one("#source-file").send_keys(str(cat_path))
    visitor.one("#target-file").send_keys(str(cheetah_path))
    visitor.see("#sentence")


def answered(visitor, expected, count):
    """Wait until the second photograph shows what the library answers to the points on the first."""

    def agree():
        source, target = visitor.marks("#source"), visitor.marks("#target")
        if not len(source) == len(target) == count:
            return False
        return count == 0 or np.abs(expected.transfer(source).points - target).max() < 1

    wait_for(agree, 20)
