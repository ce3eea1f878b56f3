"""The page in a real browser: what a person does, with the mouse and with the keyboard alone."""

import csv
import io
import json
import re
import shutil
import signal
import subprocess

import numpy as np
import pytest
from conftest_app import POINTS, Command, wait_for

from semcorr.annotation.formats import read_labels

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from conftest_browser import CAT, answered, begin
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.slow


def test_upload_click_drag_undo_download(visitor, page, cat_path, cheetah_path, expected):
    begin(visitor, page, cat_path, cheetah_path)
    assert visitor.text("#sentence").startswith("Yes, these very probably show the same kind of thing")
    for place in POINTS.values():
        visitor.click("#source .stage", place, CAT)
    answered(visitor, expected, 3)
    assert np.abs(np.array(visitor.marks("#source")) - list(POINTS.values())).max() < 1
    assert all(re.search(r"\d+ % sure", row.text) for row in visitor.all("#points li"))
    assert "% sure" in visitor.text("#status")
    wait_for(lambda: visitor.run("const o = document.querySelector('#target .overlay'); return o.naturalWidth > 0"))
    before = visitor.marks("#source")
    mark = visitor.all("#source .point .dot")[0]
    ActionChains(visitor.browser).drag_and_drop_by_offset(mark, 40, -25).perform()
    answered(visitor, expected, 3)
    moved = np.subtract(visitor.marks("#source"), before)
    assert moved[0][0] > 20
    assert moved[0][1] < -10
    assert np.abs(moved[1:]).max() == 0
    visitor.undo()
    wait_for(lambda: visitor.marks("#source") == before)
    answered(visitor, expected, 3)
    name = visitor.all("#points input")[2]
    ActionChains(visitor.browser).click(name).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).perform()
    visitor.press("nose, tip", Keys.TAB)
    visitor.all("#points button")[1].click()
    answered(visitor, expected, 2)
    for kind in ("csv", "json", "png"):
        visitor.one(f".download[data-kind={kind}]").click()
        visitor.downloaded(f".{kind}")
    rows = list(csv.DictReader(io.StringIO(visitor.downloaded(".csv").read_text())))
    assert [row["name"] for row in rows] == ["point 1", "nose, tip"]
    assert [float(rows[1]["source_x"]), float(rows[1]["source_y"])] == pytest.approx(visitor.marks("#source")[1])
    assert json.loads(visitor.downloaded(".json").read_text())["points"][1]["name"] == "nose, tip"
    wait_for(lambda: "match.transfer([(" in visitor.text("#python"))
    assert visitor.text("#command").startswith("semcorr match cat.png cheetah1.jpg --point ")


def test_views_examples_and_mutual_matches(visitor, page):
    visitor.open(f"{page.address}/#match")
    visitor.see("#examples button").click()
    visitor.see("#sentence")
    visitor.one("#mutual").click()
    wait_for(lambda: len(visitor.marks("#target")) >= 4)
    for view in ("flow", "warp", "visible"):
        visitor.run(f"document.querySelector('#views input[value={view}]').click()")
        script = (
            "const o = document.querySelector('#source .overlay'); "
            f"return o.src.includes('{view}') && o.complete && o.naturalWidth > 0"
        )
        wait_for(lambda script=script: visitor.run(script))
        assert visitor.one("#blend-box").is_displayed() == (view == "warp")
    visitor.run(
        "const s = document.querySelector('#match-settings select'); s.value = 'nearest'; "
        "s.dispatchEvent(new Event('change', { bubbles: true }))"
    )
    wait_for(lambda: visitor.text("#sentence").startswith("This model does not estimate"))


def test_a_point_under_another_is_dragged_after_a_click_in_the_list(visitor, page, cat_path, cheetah_path):
    begin(visitor, page, cat_path, cheetah_path)
    visitor.one("#source .stage").send_keys("a", Keys.ARROW_RIGHT)  # the same place, but for a pixel
    visitor.one("#source .stage").send_keys("a")
    wait_for(lambda: len(visitor.marks("#target")) == 2)
    before = visitor.marks("#source")
    visitor.all("#points input")[0].click()
    place = visitor.all("#source .point")[-1]
    ActionChains(visitor.browser).move_to_element(place).click_and_hold().move_by_offset(60, 0).release().perform()
    after = visitor.marks("#source")
    assert after[0][0] > before[0][0] + 20
    assert after[1] == before[1]


def test_match_by_keyboard_alone(visitor, page, cat_path, cheetah_path, expected):
    begin(visitor, page, cat_path, cheetah_path)
    visitor.run("document.activeElement.blur()")
    for _ in range(20):
        visitor.press(Keys.TAB)
        if visitor.run("return document.activeElement.matches('#source .stage')"):
            break
    visitor.press("a")
    answered(visitor, expected, 1)
    assert visitor.marks("#source") == [[225.5, 150]]
    visitor.press(Keys.ARROW_LEFT, Keys.ARROW_UP)
    ActionChains(visitor.browser).key_down(Keys.SHIFT).send_keys(Keys.ARROW_DOWN).key_up(Keys.SHIFT).perform()
    answered(visitor, expected, 1)
    assert visitor.marks("#source") == [[224.5, 159]]
    visitor.press("a")
    answered(visitor, expected, 2)
    visitor.press(Keys.DELETE)
    answered(visitor, expected, 1)
    visitor.undo()
    answered(visitor, expected, 2)
    visitor.press("?")
    assert visitor.see("#help-box").is_displayed()
    visitor.press(Keys.ESCAPE)
    visitor.run("document.querySelector('#tab-match').focus()")
    visitor.press(Keys.ARROW_RIGHT)
    assert visitor.see("#panel-label")


def test_label_ten_pictures_by_keyboard_with_a_kill_in_the_middle(visitor, ten_copied):
    state = ten_copied / "semcorr-labels.json"
    server = Command(ten_copied)
    try:
        visitor.open(server.address)
        visitor.see("#canvas .stage")
        wait_for(lambda: visitor.text("#picture-title") == "0.png")
        visitor.run("document.querySelector('#canvas .stage').focus()")
        for x, y in POINTS.values():
            visitor.press("a")
            wait_for(lambda: visitor.run("return document.activeElement.matches('#canvas .point')"))
            here = visitor.run("const d = document.activeElement.dataset; return [+d.x, +d.y]")
            for keys, far in (
                ((Keys.ARROW_LEFT, Keys.ARROW_RIGHT), x - here[0]),
                ((Keys.ARROW_UP, Keys.ARROW_DOWN), y - here[1]),
            ):
                tens, ones = divmod(round(abs(far)), 10)
                key = keys[far > 0]
                ActionChains(visitor.browser).key_down(Keys.SHIFT).send_keys(key * tens).key_up(Keys.SHIFT).perform()
                visitor.press(*key * ones)
        assert np.abs(np.array(visitor.marks("#canvas")) - list(POINTS.values())).max() <= 1
        visitor.press(Keys.ENTER)
        wait_for(lambda: "1 of 10" in visitor.text("#counts"))
        visitor.run("document.querySelector('#label-all').focus()")
        visitor.press(Keys.SPACE)
        work = wait_for(lambda: (found := server.work())["done"] >= 2 and found)
        server.end(signal.SIGKILL)
        assert work["done"] < 9
        assert work["seconds_left"] > 0
        confirmed = read_labels(state)[0]
        server = Command(ten_copied, port=server.port)
        visitor.open(server.address)
        wait_for(lambda: visitor.text("#label-all") == "Resume")
        visitor.run("document.querySelector('#label-all').focus()")
        visitor.press(Keys.SPACE)
        assert server.work()["done"] >= 2 or wait_for(lambda: server.work()["done"] >= 2)
        wait_for(lambda: "Done" in visitor.text("#toast"))
        assert visitor.run("return document.querySelectorAll('#pictures .labelled').length") == 9
        visitor.run("document.activeElement.blur()")
        for count in range(2, 11):
            wait_for(lambda: visitor.text("#picture-state").endswith("sure"))
            shown = visitor.text("#picture-title")
            visitor.press(Keys.ENTER, Keys.ENTER)  # the second one confirms nothing that was not seen
            wait_for(lambda count=count: f"{count} of 10" in visitor.text("#counts"))
            wait_for(lambda count=count, shown=shown: count == 10 or visitor.text("#picture-title") != shown)
        final = {one.picture: one for one in read_labels(state)}
    finally:
        server.end(signal.SIGTERM)
        visitor.browser.get_log("browser")  # requests failed while the server was down
    assert final["0.png"].points == confirmed.points
    assert all(one.confirmed for one in final.values())
    assert len(final) == 10
    for index in range(10):
        point = final[f"{index}.png"].points["point 3"]
        assert np.hypot(point.x - (265 - 4 * index), point.y - 240) < 12


def test_label_uploads_with_the_mouse_import_and_export(visitor, page, ten, tmp_path):
    visitor.open(f"{page.address}/#label")
    visitor.one("#label-files").send_keys("\n".join(str(ten / f"{i}.png") for i in range(3)))
    visitor.see("#canvas .stage")
    visitor.click("#canvas .stage", POINTS["nose"], (400, 300))
    wait_for(lambda: len(visitor.marks("#canvas")) == 1)
    field = visitor.see("#names input")
    ActionChains(visitor.browser).click(field).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).perform()
    visitor.press("nose", Keys.TAB)
    wait_for(lambda: visitor.run("return document.querySelector('#names li').dataset.name") == "nose")
    visitor.one("#label-all").click()
    wait_for(lambda: visitor.run("return document.querySelectorAll('#pictures .labelled').length") == 2)
    wait_for(lambda: visitor.text("#picture-title") != "0.png")
    before = visitor.marks("#canvas")
    mark = visitor.see("#canvas .point .dot")
    ActionChains(visitor.browser).drag_and_drop_by_offset(mark, 30, 30).perform()
    assert visitor.marks("#canvas") != before
    visitor.undo()
    assert visitor.marks("#canvas") == before
    ActionChains(visitor.browser).drag_and_drop_by_offset(visitor.see("#canvas .point .dot"), 30, 30).perform()
    here, name = visitor.marks("#canvas")[0], visitor.text("#picture-title")
    visitor.one("#confirm").click()
    wait_for(lambda: "2 of 3" in visitor.text("#counts"))
    for summary in visitor.all("#project summary")[1:]:
        summary.click()
    visitor.run("document.querySelector('#format').value = 'csv'")
    visitor.one("#export").click()
    table = visitor.downloaded(".csv")
    exported = {one.picture: one for one in read_labels(table)}
    assert [exported[name].points["nose"].x, exported[name].points["nose"].y] == pytest.approx(here, abs=0.01)
    assert sum(one.confirmed for one in exported.values()) == 2
    other = next(one for one in ("1.png", "2.png") if one != name)
    changed = tmp_path / "changed.csv"
    changed.write_text(f"picture,point,x,y,v\n{other},nose,77,88,2\n{name},nose,1,1,2\n")
    visitor.one("#import").send_keys(str(changed))
    wait_for(lambda: "1 picture imported; 1 confirmed" in visitor.text("#toast"))
    state = page.projects._uploaded[visitor.run("return sessionStorage.getItem('project')")].labels
    assert (state[other].points["nose"].x, state[name].points["nose"].x) == (77, pytest.approx(here[0], abs=0.01))


def test_a_hostile_file_shows_one_line(visitor, page, tmp_path):
    visitor.open(f"{page.address}/#match")
    wait_for(lambda: visitor.all("#source-file"))
    drawing = tmp_path / "drawing.svg"
    drawing.write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>document.title = 'taken'</script></svg>")
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.truncate(100 << 20)
    for file, line in ((drawing, "SVG drawing"), (large, "larger than 50 MB")):
        visitor.one("#source-file").send_keys(str(file))
        wait_for(lambda line=line: line in visitor.text("#toast"))
    assert visitor.browser.title == "semcorr"
    visitor.browser.get_log("browser")  # Chromium notes the status 415


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm here to fetch axe-core with")
    folder = tmp_path_factory.mktemp("axe")
    fetched = subprocess.run([npm, "pack", "axe-core@4"], cwd=folder, capture_output=True, text=True, timeout=120)
    archives = list(folder.glob("*.tgz"))
    if fetched.returncode or not archives:
        pytest.skip("axe-core cannot be fetched from npm")
    shutil.unpack_archive(archives[0], folder, filter="data")
    return (folder / "package" / "axe.min.js").read_text()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_accessibility_and_width(visitor, page, ten, axe, width, theme, tmp_path):
    visitor.resize(width, 900)
    visitor.open(f"{page.address}/#match")
    visitor.run(f"document.documentElement.dataset.theme = '{theme}'")

    def check():
        assert visitor.run("return document.scrollingElement.scrollWidth <= window.innerWidth")
        visitor.run(axe)
        found = visitor.browser.execute_async_script("const done = arguments[0]; axe.run().then(done)")
        serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious] == []

    visitor.see("#examples button")
    check()
    for box in ("help-box", "camera-box"):
        visitor.run(f"document.querySelector('#{box}').showModal()")
        check()
        visitor.run(f"document.querySelector('#{box}').close()")
    visitor.one("#examples button").click()
    visitor.see("#sentence")
    visitor.run("document.querySelector('#mutual').click()")
    wait_for(lambda: len(visitor.marks("#target")) >= 4)
    check()
    visitor.run("document.querySelector('#tab-label').click()")
    check()
    long = shutil.copy(ten / "0.png", tmp_path / f"{'station 4, camera 2, individual 31, ' * 2}.png")
    visitor.one("#label-files").send_keys("\n".join(map(str, (ten / "1.png", long))))
    visitor.see("#canvas .stage")
    wait_for(lambda: visitor.text("#picture-title") == "1.png")
    visitor.press("n")
    wait_for(lambda: visitor.text("#picture-title").startswith("station"))
    visitor.click("#canvas .stage", POINTS["nose"], (400, 300))
    wait_for(lambda: len(visitor.marks("#canvas")) == 1)
    check()
    for menu in visitor.all("#project details"):  # the menus are whole on a phone, too
        visitor.run("arguments[0].open = true", menu)
        box = visitor.run(
            "const b = arguments[0].querySelector('.pop').getBoundingClientRect(); return b.toJSON()", menu
        )
        assert box["left"] >= 0
        assert box["right"] <= width
        visitor.run("arguments[0].open = false", menu)
