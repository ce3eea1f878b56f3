"""The page of what to check first: what stands on it, in which order, and that names from strangers stay text."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from annotation.labels import make_annotations, make_pictures

from semcorr.annotation.pictures import Pictures
from semcorr.annotation.records import Annotation, Point
from semcorr.annotation.report import SHEET, render_report

pytest.importorskip("jinja2")


class Page(HTMLParser):
    """Collects what the tests ask for."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(data.strip())

    def pictures(self) -> list[str | None]:
        return [attributes["aria-label"] for tag, attributes in self.tags if tag == "svg"]


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    names = make_pictures(tmp_path / "pictures")
    return Pictures(tmp_path / "pictures", [(name, tmp_path / "pictures" / name) for name in names])


def page(tmp_path: Path, annotations: list[Annotation], pictures: Pictures) -> Page:
    (tmp_path / "page.html").write_bytes(render_report(annotations, pictures, 1))
    return Page(tmp_path / "page.html")


def test_the_least_certain_come_first_and_the_others_stand_apart(tmp_path: Path, pictures: Pictures) -> None:
    first, second, third = make_annotations([name for name, _ in pictures.files])
    doubtful = {name: replace(point, confidence=0.31) for name, point in second.points.items()}
    second, third = replace(second, points=doubtful), replace(third, similarity=0.1)
    broken = Annotation("broken.jpg", None, error="holds no picture")
    shown = page(tmp_path, [first, second, third, broken], pictures)
    assert shown.pictures() == [second.picture, first.picture, third.picture]
    words = " ".join(shown.text)
    assert words.index("The least certain") < words.index("Resemble no exemplar ") < words.index(third.picture)
    assert "holds no picture" in words


def test_points_lie_where_they_are_in_the_small_picture(tmp_path: Path, pictures: Pictures) -> None:
    """Pictures of 80×60 pixels are shown 300 wide."""
    (first, *_) = make_annotations(["a.png"])
    shown = page(tmp_path, [first], pictures)
    circles = [attributes for tag, attributes in shown.tags if tag == "circle"]
    assert len(circles) == 2 * 4  # each with a dark rim
    place = float(circles[0]["cx"] or 0), float(circles[0]["cy"] or 0)
    assert place == pytest.approx((12.25 * 3.75, 30.5 * 3.75), abs=0.06)
    hollow = [circle for circle in circles[1::2] if circle["fill"] == "#0000"]
    assert len(hollow) == 1
    struck = page(tmp_path, make_annotations(["a.png", "sub/b.png"])[1:], pictures)
    assert sum(tag == "s" for tag, _ in struck.tags) == 1


def test_an_object_is_shown_by_itself(tmp_path: Path, pictures: Pictures) -> None:
    (first,) = make_annotations(["a.png"])
    boxed = replace(first, box=(30.0, 15.0, 60.0, 45.0), points={"nose": Point(45.0, 30.0)})
    shown = page(tmp_path, [boxed], pictures)
    circle = next(attributes for tag, attributes in shown.tags if tag == "circle")
    assert (float(circle["cx"] or 0), float(circle["cy"] or 0)) == (
        pytest.approx(150, abs=5),
        pytest.approx(150, abs=5),
    )


def test_names_from_strangers_stay_text(tmp_path: Path, pictures: Pictures) -> None:
    evil = '"><script>alert(1)</script>'
    (first,) = make_annotations(["a.png"])
    hostile = replace(first, points={evil: Point(1, 1)}, exemplar=evil, model=evil)
    broken = Annotation(evil, None, error=evil)
    shown = page(tmp_path, [hostile, broken], pictures)
    assert not [tag for tag, _ in shown.tags if tag == "script"]
    assert any(evil in text for text in shown.text)
    assert not [a for _, a in shown.tags if any(str(value).startswith(("http", "//")) for value in a.values())]


def test_a_sheet_has_twelve_pictures(tmp_path: Path) -> None:
    names = make_pictures(tmp_path / "pictures", tuple(f"{i:02}.png" for i in range(SHEET + 3)))
    pictures = Pictures(tmp_path / "pictures", [(name, tmp_path / "pictures" / name) for name in names])
    shown = page(tmp_path, make_annotations(names), pictures)
    assert sum(attributes.get("class") == "sheet" for _, attributes in shown.tags) == 2
    assert len(shown.pictures()) == SHEET + 3


def test_pictures_that_are_gone_since_are_left_out(tmp_path: Path, pictures: Pictures) -> None:
    annotations = make_annotations([name for name, _ in pictures.files])
    (tmp_path / "pictures" / "a.png").unlink()
    assert page(tmp_path, annotations, pictures).pictures() == ["sub/b.png", "sub/c d.png"]
