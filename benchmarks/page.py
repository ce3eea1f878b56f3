"""Time from a click in the page of ``semcorr app`` to its answer on the screen, in a real browser.

python benchmarks/page.py --threads 2

Chromium with its driver and selenium must be installed, and scikit-image and gradio for their photographs. Both have
been matched before the first click, as for everybody who clicks.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

# From the moment of the click to the frame after the one that first holds the point, or the heat map: it is visible
# by then.
WATCH = """
window.counterparts = []; window.heats = [];
let start = 0, seen = 0;
const note = (list) => requestAnimationFrame(() => requestAnimationFrame(() => list.push(performance.now() - start)));
addEventListener("pointerdown", (event) => { start = event.timeStamp; }, true);
new MutationObserver(() => {
  const count = document.querySelectorAll("#target .point").length;
  if (count > seen) note(counterparts);
  seen = count;
}).observe(document.querySelector("#target"), { childList: true, subtree: true });
document.querySelector("#target .overlay").addEventListener("load", () => note(heats));
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clicks", type=int, choices=range(1, 41), metavar="1…40", default=20)
    options = parser.parse_args()
    environment = os.environ | {"SEMCORR_NUM_THREADS": str(options.threads), "OMP_NUM_THREADS": str(options.threads)}
    command = [sys.executable, "-m", "semcorr", "app", "--no-browser", "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    with tempfile.TemporaryDirectory() as profile:
        browser = open_browser(profile)
        try:
            assert server.stderr is not None
            found = re.search(r"http://\S+", server.stderr.readline())
            assert found is not None
            report(*click_around(browser, found[0], options.clicks))
        finally:
            browser.quit()
            server.terminate()
            server.wait()


def open_browser(profile: str) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("headless", "no-sandbox", "disable-gpu", "window-size=1440,1000", f"user-data-dir={profile}"):
        options.add_argument(f"--{argument}")
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def click_around(browser: webdriver.Chrome, address: str, clicks: int) -> tuple[list[float], list[float]]:
    """Click in the first photograph, and return the milliseconds until counterpart and heat map are visible."""
    wait = WebDriverWait(browser, 120)
    browser.get(address)
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "#examples button"))[0].click()
    wait.until(lambda b: b.find_element(By.ID, "sentence").is_displayed())
    browser.execute_script(WATCH)
    stage = browser.find_element(By.CSS_SELECTOR, "#source .stage")
    width, height = stage.size["width"], stage.size["height"]
    for index in range(clicks):
        row, column = divmod(index, 8)  # far enough apart that no click meets a point
        x, y = (column + 0.5) / 8 - 0.5, (row + 0.5) / 5 - 0.5
        ActionChains(browser).move_to_element_with_offset(stage, round(x * width), round(y * height)).click().perform()
        wait.until(lambda b, n=index: min(b.execute_script("return [counterparts.length, heats.length]")) > n)
        time.sleep(0.3)  # as a person does
    return browser.execute_script("return [counterparts, heats]")


def report(counterparts: list[float], heats: list[float]) -> None:
    for name, times in (("counterpart", counterparts), ("heat map", heats)):
        print(
            f"{name:12s} visible after {statistics.median(times):5.0f} ms (median of {len(times)} clicks; "
            f"first {times[0]:.0f}, slowest {max(times):.0f})"
        )


if __name__ == "__main__":
    main()
