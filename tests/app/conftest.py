"""Fixtures of the page's tests; what they are made of is in `conftest_app` and `conftest_browser`."""

import pytest
from conftest_app import cat_path, page, ten, ten_copied

import semcorr

__all__ = ["cat_path", "page", "ten", "ten_copied"]


@pytest.fixture
def visitor(browser, tmp_path):
    from conftest_browser import Visitor  # selenium may not be installed

    folder = tmp_path / "downloads"
    folder.mkdir()
    visitor = Visitor(browser, folder)
    browser.get_log("browser")
    yield visitor
    browser.get("about:blank")
    assert [entry for entry in browser.get_log("browser") if "favicon" not in entry["message"]] == []


@pytest.fixture(scope="module")
def expected(cat_path, cheetah_path):
    return semcorr.load("pmnc").match(cat_path, cheetah_path)
