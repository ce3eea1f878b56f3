"""Other ways to use the page than mouse and keys: dropped files, the clipboard, the camera, fingers, two windows."""

import base64
import shutil

import numpy as np
import pytest
from conftest_app import POINTS, Page, wait_for

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from conftest_browser import CAT, answered, begin
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.slow


def middle(visitor, selector):
    script = (
        "const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'center'}); "
        "const b = e.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2]"
    )
    return visitor.run(script, selector)


def drop(visitor, selector, *paths):
    """Drop files or folders of this machine on an element, as a file manager does."""
    x, y = middle(visitor, selector)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        visitor.devtools("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)


def shown(visitor, side):
    return visitor.text(f"#{side} .picture-name")


def test_two_photographs_are_dropped(visitor, page, cat_path, cheetah_path, expected):
    visitor.open(f"{page.address}/#match")
    visitor.see("#target .drop")
    drop(visitor, "#target .drop", cat_path, cheetah_path)  # both at once, wherever: the first and the second
    visitor.see("#sentence")
    assert (shown(visitor, "source"), shown(visitor, "target")) == ("cat.png", "cheetah1.jpg")
    visitor.click("#source .stage", POINTS["nose"], CAT)
    answered(visitor, expected, 1)
    drop(visitor, "#target .stage", cat_path)  # on a photograph: another in its place
    wait_for(lambda: shown(visitor, "target") == "cat.png")
    wait_for(lambda: visitor.marks("#target"))
    assert np.abs(np.subtract(visitor.marks("#target"), visitor.marks("#source"))).max() < 8
    drop(visitor, "header", cheetah_path)  # beside the photographs: nothing happens, and the page stays
    assert visitor.marks("#source")


def test_what_is_no_picture_is_dropped(visitor, page, tmp_path):
    (tmp_path / "note.jpg").write_text("no picture")
    (tmp_path / "empty folder").mkdir()
    visitor.open(f"{page.address}/#match")
    visitor.see("#source .drop")
    drop(visitor, "#source .drop", tmp_path / "note.jpg")
    wait_for(lambda: "note.jpg" in visitor.text("#toast"))
    drop(visitor, "#source .drop", tmp_path / "empty folder")
    wait_for(lambda: "no picture in this folder" in visitor.text("#toast"))
    assert visitor.see("#source .drop")
    visitor.browser.get_log("browser")  # Chromium notes the status 415


def test_a_folder_is_dropped_and_more_pictures_added(visitor, page, ten_copied, tmp_path):
    (ten_copied / "notes.txt").write_text("not a picture, and not asked for")
    (ten_copied / "more").mkdir()
    (ten_copied / "0.png").rename(ten_copied / "more" / "inside.png")
    visitor.open(f"{page.address}/#label")
    visitor.see("#label-drop")
    drop(visitor, "#label-drop", ten_copied)
    wait_for(lambda: visitor.text("#counts") == "0 of 10 confirmed")
    assert "inside.png" in visitor.text("#pictures")
    drop(visitor, "#canvas", shutil.copy(ten_copied / "1.png", tmp_path / "eleventh.png"))
    wait_for(lambda: visitor.text("#counts") == "0 of 11 confirmed")
    assert visitor.text("#toast span") == ""
    visitor.one("#leave").click()
    assert visitor.see("#label-drop")
    visitor.one("#label-folder").send_keys(str(ten_copied / "more"))  # a folder that is chosen, not dropped
    wait_for(lambda: visitor.text("#counts") == "0 of 1 confirmed")
    visitor.press("n")
    visitor.click("#canvas .stage", POINTS["nose"], (400, 300))
    wait_for(lambda: visitor.text("#names .words") == "by hand")


def paste(visitor, path):
    """Copy a picture, as from another program, and press Ctrl+V."""
    visitor.devtools("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    visitor.browser.execute_async_script(
        """const [content, done] = arguments;
        const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
        const blob = new Blob([bytes], { type: "image/png" });
        navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]).then(() => done());""",
        base64.b64encode(path.read_bytes()).decode(),
    )
    key = {"key": "v", "code": "KeyV", "windowsVirtualKeyCode": 86, "modifiers": 2}
    visitor.devtools("Input.dispatchKeyEvent", type="rawKeyDown", commands=["paste"], **key)
    visitor.devtools("Input.dispatchKeyEvent", type="keyUp", **key)


def test_photographs_are_pasted(visitor, page, cat_path):
    visitor.open(f"{page.address}/#match")
    visitor.see("#source .drop")
    paste(visitor, cat_path)
    wait_for(lambda: shown(visitor, "source"))
    paste(visitor, cat_path)
    visitor.see("#sentence")
    visitor.click("#source .stage", POINTS["left eye"], CAT)
    wait_for(lambda: visitor.marks("#target"))
    assert np.abs(np.subtract(visitor.marks("#target"), visitor.marks("#source"))).max() < 8


def test_a_photograph_is_taken_with_the_camera(visitor, page, cat_path):
    visitor.devtools("Browser.grantPermissions", permissions=["videoCapture"], origin=page.address)
    visitor.open(f"{page.address}/#match")
    visitor.see("#source-camera").click()
    wait_for(lambda: visitor.run("return document.activeElement.id") == "shoot")
    visitor.press(Keys.ESCAPE)
    wait_for(lambda: visitor.run("return !document.querySelector('#camera-box').open"))
    wait_for(lambda: visitor.run("return document.querySelector('video').srcObject === null"))  # the camera is off
    visitor.see("#source-camera").click()
    wait_for(lambda: visitor.run("return document.activeElement.id") == "shoot")
    visitor.press(Keys.ENTER)
    wait_for(lambda: shown(visitor, "source") == "camera-1.jpg")
    wait_for(lambda: visitor.run("return document.querySelector('#source img').naturalHeight") >= 240)
    visitor.one("#target-file").send_keys(str(cat_path))
    visitor.see("#sentence")


def test_a_camera_that_is_not_allowed_gets_one_line(visitor, page):
    visitor.devtools("Browser.resetPermissions")
    visitor.devtools("Browser.setPermission", permission={"name": "camera"}, setting="denied", origin=page.address)
    try:
        visitor.open(f"{page.address}/#match")
        visitor.see("#source-camera").click()
        wait_for(lambda: "does not allow the camera" in visitor.text("#toast"))
        assert visitor.see("#source .drop")
    finally:
        visitor.devtools("Browser.resetPermissions")


def test_where_the_page_may_not_show_the_camera_a_phone_opens_its_own(visitor, page, cat_path):
    """As at another machine's address without HTTPS, where browsers have no `navigator.mediaDevices`."""
    source = "Object.defineProperty(navigator, 'mediaDevices', { value: undefined })"
    made = visitor.devtools("Page.addScriptToEvaluateOnNewDocument", source=source)["identifier"]
    try:
        visitor.open(f"{page.address}/#match")
        wait_for(lambda: visitor.all("#source-camera"))
        assert visitor.one("#source-camera").get_attribute("capture") == "environment"
        visitor.one("#source-camera").send_keys(str(cat_path))
        wait_for(lambda: shown(visitor, "source") == "cat.png")
    finally:
        visitor.devtools("Page.removeScriptToEvaluateOnNewDocument", identifier=made)


def touch(visitor, *ways):
    """Let fingers touch, move and leave the screen: of each, the places that it passes."""
    for step in range(max(map(len, ways))):
        fingers = [{"x": way[step][0], "y": way[step][1], "id": i} for i, way in enumerate(ways) if step < len(way)]
        visitor.devtools("Input.dispatchTouchEvent", type="touchMove" if step else "touchStart", touchPoints=fingers)
    visitor.devtools("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])


def place_of(visitor, point):
    """Return where a place in the first photograph is on the screen."""
    script = (
        "const e = document.querySelector('#source .stage'); e.scrollIntoView({block: 'center'}); "
        "const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]"
    )
    left, top, width, height = visitor.run(script)
    return left + point[0] * width / CAT[0], top + point[1] * height / CAT[1]


def between(start, end, steps=6):
    return [tuple(np.add(start, np.subtract(end, start) * i / steps)) for i in range(steps + 1)]


def test_fingers_on_a_phone(visitor, page, cat_path, cheetah_path, expected):
    visitor.resize(390, 844)
    begin(visitor, page, cat_path, cheetah_path)
    eye = place_of(visitor, POINTS["left eye"])
    touch(visitor, [eye])
    answered(visitor, expected, 1)
    assert np.abs(np.subtract(visitor.marks("#source")[0], POINTS["left eye"])).max() < 1
    nose = place_of(visitor, POINTS["nose"])
    touch(visitor, between(place_of(visitor, POINTS["left eye"]), nose))  # on a point: drag it, in any direction
    wait_for(lambda: np.abs(np.subtract(visitor.marks("#source")[0], POINTS["nose"])).max() < 2)
    answered(visitor, expected, 1)
    before = visitor.run("return scrollY")
    start = place_of(visitor, (100, 200))
    touch(visitor, between(start, (start[0], start[1] - 150)))  # beside it: the page moves, and no point is placed
    wait_for(lambda: visitor.run("return scrollY") > before + 50)
    one, other = place_of(visitor, (100, 200)), place_of(visitor, (200, 200))
    touch(visitor, [one], [other])  # two fingers zoom
    touch(visitor, [place_of(visitor, POINTS["right eye"])])
    answered(visitor, expected, 2)
    assert np.abs(np.subtract(visitor.marks("#source")[1], POINTS["right eye"])).max() < 1


def test_two_windows_on_two_folders(visitor, ten, ten_copied, tmp_path):
    """While a large folder is labelled in one window, a small one is labelled from start to end in another."""
    large = tmp_path / "large"
    large.mkdir()
    for index in range(200):
        shutil.copy(ten / f"{index % 10}.png", large / f"{index:03}.png")
    page = Page([large, ten_copied])
    one = visitor.browser.current_window_handle
    try:
        visitor.open(f"{page.address}/#label")
        label_all(visitor, "large", POINTS["nose"])
        visitor.browser.switch_to.new_window("window")
        visitor.browser.get(f"{page.address}/#label")
        label_all(visitor, "ten", POINTS["left eye"])
        wait_for(lambda: "Done" in visitor.text("#toast"))
        assert page.json("GET", "/api/projects/folder-1")["work"]["running"]  # it did not wait for the other to end
        assert visitor.text("#counts") == "1 of 10 confirmed"
        visitor.browser.switch_to.window(one)
        assert visitor.text("#counts") == "1 of 200 confirmed"
        assert visitor.text("#project-title") == "large"
        wait_for(lambda: " left" in visitor.text("#progress-text"))
        visitor.one("#stop").click()
        wait_for(lambda: "Stopped" in visitor.text("#toast"))
        assert visitor.text("#label-all") == "Resume"
        for folder, x in (("folder-1", POINTS["nose"][0]), ("folder-2", POINTS["left eye"][0])):
            first = page.json("GET", f"/api/projects/{folder}")["pictures"][-1]  # confirmed ones come last
            found = [
                p["name"] for p in page.json("GET", f"/api/projects/{folder}")["pictures"] if p["state"] == "confirmed"
            ]
            points = page.json("GET", f"/api/projects/{folder}/labels?picture={found[0]}")["points"]
            assert points["point 1"]["x"] == pytest.approx(x, abs=1), first
    finally:
        for handle in visitor.browser.window_handles:
            if handle != one:
                visitor.browser.switch_to.window(handle)
                visitor.browser.close()
        visitor.browser.switch_to.window(one)
        page.close()


def test_points_wait_for_their_picture(visitor, ten):
    """On a slow line, no picture is shown, nor confirmed, in the place of another."""
    page = Page([ten])
    script = "const i = document.querySelector('#canvas img'); return [i.style.visibility, i.src]"
    try:
        visitor.open(f"{page.address}/#label")
        wait_for(lambda: visitor.text("#picture-title") == "0.png")
        wait_for(lambda: visitor.run(script)[0] == "")
        visitor.devtools("Network.enable")
        slow = {"offline": False, "latency": 1500, "downloadThroughput": -1, "uploadThroughput": -1}
        visitor.devtools("Network.emulateNetworkConditions", **slow)
        visitor.press("n")
        wait_for(lambda: "1.png" in visitor.run(script)[1])
        assert visitor.run(script)[0] == "hidden"
        visitor.press(Keys.ENTER)  # nothing that was not seen is confirmed
        wait_for(lambda: visitor.text("#picture-title") == "1.png")
        assert visitor.run(script)[0] == ""
        assert visitor.text("#counts") == "0 of 10 confirmed"
    finally:
        visitor.devtools("Network.emulateNetworkConditions", **slow | {"latency": 0})
        visitor.devtools("Network.disable")
        page.close()


def label_all(visitor, folder, place):
    wait_for(lambda: visitor.all("#folders button"))
    next(one for one in visitor.all("#folders button") if f"“{folder}”" in one.text).click()
    visitor.see("#canvas .stage")
    assert visitor.all("#names li") == []
    visitor.click("#canvas .stage", place, (400, 300))
    wait_for(lambda: len(visitor.marks("#canvas")) == 1)
    visitor.see("#label-all").click()
    wait_for(lambda: visitor.one("#stop").is_displayed())
