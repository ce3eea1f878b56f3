"""Fixtures of the page's tests; what they are made of is in `conftest_app`."""

from conftest_app import cat_path, page, ten, ten_copied

__all__ = ["cat_path", "page", "ten", "ten_copied"]
