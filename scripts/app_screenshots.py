"""Photograph the page in both tabs, light and dark, on a desk, a tablet and a phone.

Usage: python scripts/app_screenshots.py OUT --folder PICTURES

It needs Chromium with its driver, selenium, and a folder of pictures whose first is ``cat.png`` of scikit-image.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from semcorr.app.server import create_app

WIDTHS = {1440: 1000, 820: 1180, 390: 844}
POINTS = {"left eye": (319, 137), "right eye": (175, 116), "nose": (265, 240), "left ear": (355, 70)}


def main() -> None:
    """Start a server on a copy of the folder, and take all the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(shutil.copytree(options.folder, Path(scratch, options.folder.name)))
        server = uvicorn.Server(uvicorn.Config(create_app([folder]), port=0, log_level="error"))
        threading.Thread(target=server.run, daemon=True).start()
        while not server.started:
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        browser = open_browser(Path(scratch, "profile"))
        try:
            photograph(browser, f"http://127.0.0.1:{port}/", options.out)
        finally:
            browser.quit()
            server.should_exit = True


def open_browser(profile: Path) -> Any:
    """Start a headless Chromium."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("headless", "no-sandbox", "disable-gpu", "hide-scrollbars", f"user-data-dir={profile}"):
        options.add_argument(f"--{argument}")
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def photograph(browser: Any, address: str, out: Path) -> None:
    """Use both tabs as a person would, and photograph them."""
    wait = WebDriverWait(browser, 120)
    resize(browser, 1440, 1000)
    browser.get(f"{address}#match")
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "#examples button"))
    shoot(browser, out, "begin")
    browser.find_element(By.CSS_SELECTOR, "#examples button").click()
    wait.until(lambda b: b.find_element(By.ID, "sentence").is_displayed())
    for place in POINTS.values():
        click(browser, "#source .stage", place, (451, 300))
    for name, field in zip(POINTS, browser.find_elements(By.CSS_SELECTOR, "#points input"), strict=True):
        rename(field, name)
    time.sleep(1)
    shoot(browser, out, "match")
    for view in ("flow", "warp", "visible"):
        browser.execute_script(f"document.querySelector('#views input[value={view}]').click()")
        time.sleep(1.5)
        shoot(browser, out, f"match-{view}", [1440])
    browser.execute_script("document.querySelector('#views input[value=points]').click()")
    browser.find_element(By.ID, "mutual").click()
    time.sleep(1.5)
    shoot(browser, out, "match-mutual")
    browser.find_element(By.ID, "tab-label").click()
    wait.until(lambda b: b.find_element(By.ID, "project").is_displayed())
    browser.find_element(By.ID, "leave").click()
    shoot(browser, out, "label-begin")
    browser.find_element(By.CSS_SELECTOR, "#folders button").click()
    wait.until(lambda b: b.find_element(By.ID, "project").is_displayed())
    time.sleep(1)
    for place in POINTS.values():
        click(browser, "#canvas .stage", place, (451, 300))
    for name, number in zip(POINTS, range(1, 9), strict=False):
        field = browser.find_elements(By.CSS_SELECTOR, "#names input")[number - 1]
        rename(field, name)
        time.sleep(0.6)
    shoot(browser, out, "label-marked")
    browser.find_element(By.ID, "label-all").click()
    wait.until(lambda b: "sure" in b.find_element(By.ID, "pictures").text)
    wait.until(lambda b: b.find_element(By.ID, "label-all").is_displayed())
    time.sleep(1)
    shoot(browser, out, "label")


def click(browser: Any, selector: str, place: tuple[float, float], size: tuple[int, int]) -> None:
    """Click a point given in pixels of a photograph of this width and height."""
    stage = browser.find_element(By.CSS_SELECTOR, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    width, height = stage.size["width"], stage.size["height"]
    x, y = place[0] * width / size[0] - width / 2, place[1] * height / size[1] - height / 2
    ActionChains(browser).move_to_element_with_offset(stage, round(x), round(y)).click().perform()
    time.sleep(0.3)


def rename(field: Any, name: str) -> None:
    """Type another name over that in a field."""
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(name, Keys.TAB)


def resize(browser: Any, width: int, height: int) -> None:
    """Give the window another size, as a phone or a desk has it."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def shoot(browser: Any, out: Path, name: str, widths: list[int] | None = None) -> None:
    """Photograph the whole page in every width, light and dark."""
    for width in widths or list(WIDTHS):
        for theme in ("light", "dark"):
            resize(browser, width, WIDTHS[width])
            browser.execute_script(
                f"document.documentElement.dataset.theme = '{theme}'; document.activeElement.blur(); scrollTo(0, 0);"
                "document.querySelector('#toast').hidden = true"
            )
            browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 1, "y": 1})
            time.sleep(0.4)
            taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
            (out / f"{name}-{width}-{theme}.png").write_bytes(base64.b64decode(taken["data"]))
    resize(browser, 1440, 1000)
    time.sleep(0.2)


if __name__ == "__main__":
    main()
