"""Plot a match: both images with their points, the target warped to the source, and the confidence."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from semcorr.errors import did_you_mean
from semcorr.files import write_bytes
from semcorr.geometry import Size
from semcorr.match.blend import Direction, smooth, warp
from semcorr.match.types import Bytes, Floats, Keypoints

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI, _MAX_WIDTH, _MAX_HEIGHT = 150, 1350, 1200  # figure size in pixels: at most 9 by 8 inches
_MARGIN, _GAP, _NARROWEST, _ABOVE = 15, 30, 280, 48  # pixels; the last two leave room for the longest title
_BELOW = {"S": 0, "T": 0, "W": 36, "C": 68}

# S source, T target, W warped, C confidence; the mosaic that shows the images largest is chosen.
_MOSAICS = (("ST", "WC"), ("STWC",), ("S", "T", "W", "C"))
_TITLES = {"S": "source", "T": "target", "W": "target warped to source", "C": "confidence"}
_RASTER = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_VECTOR = {".pdf": "CreationDate", ".svg": "Date"}  # and the metadata key of the date, which is omitted

_INK, _FAINT = "#1a1a1a", "#6b6b6b"
_PLATE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85}
# RGB of the four corners, top row first: light to dark and yellow to blue, distinguishable with any colour vision.
_CORNERS = np.array([[[0.99, 0.85, 0.10], [0.92, 0.22, 0.20]], [[0.10, 0.78, 0.70], [0.22, 0.20, 0.75]]])
_MAX_ASPECT = 40  # more elongated images are squeezed
_NUMBERED = 60  # more points than these are drawn small, without numbers and lines
_SURE = 0.5  # the warped target is shown in full from half way between the lowest confidence and one


class _Box(NamedTuple):
    """A rectangle in the figure, in pixels from its top-left corner."""

    x: int
    y: int
    width: int
    height: int

    def scaled(self, points: Floats, size: Size) -> Floats:
        """Scale points of an image of this size like the image when it is drawn in this box."""
        return points * np.array([self.width / size[1], self.height / size[0]], dtype=np.float32)


class Drawing(NamedTuple):
    """The contents of a plot.

    Attributes:
        source: ``(H, W, 3)`` uint8 RGB.
        target: ``(H', W', 3)`` uint8 RGB.
        direction: The matches from source to target.
        shown: The points to draw.
        model: The model's name, and what it says of the pair, for the caption.
        note: Text drawn over both images if there are no points; empty otherwise.
    """

    source: Bytes
    target: Bytes
    direction: Direction
    shown: Keypoints
    model: str
    note: str


def draw(drawing: Drawing, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw both images with their matches, the target warped to the source, and the confidence.

    Points are numbered from 1 and coloured by their position in the source. Those in the target show their confidence.
    The confidence panel shows how probable it is that the target has a point, and that its match is right; the warped
    target is pale where that is low. The first four of ``figure.axes`` are the panels in this order, each in pixels of
    its image.

    Args:
        drawing: What to draw.
        path: File to write, atomically; its suffix gives the format: png, jpg, jpeg, webp, pdf or svg.

    Returns:
        The matplotlib figure; it belongs to no window and need not be closed.

    Raises:
        ValueError: If the suffix is not one of these.
        OSError: If the file cannot be written; the subclass and the one-line message say why.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    file = None if path is None else _check_path(Path(path))
    shown, (source_size, target_size) = drawing.shown, (drawing.direction.source_size, drawing.direction.target_size)
    (height, width), boxes = _arrange(source_size, target_size)
    source, target, direction = _at_size(drawing, boxes["S"], boxes["T"])
    drawn = smooth(direction)

    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    figure.set_layout_engine("none")  # overrides the user's style sheet
    FigureCanvasAgg(figure)
    least = 0.0 if direction.field.visibility is not None else float(direction.field.confidence.min())
    least = min(least, _SURE)  # a rescaled confidence never comes near zero
    sure = np.clip((drawn.worth - least) / (_SURE * (1 - least)), 0, 1)[..., None]
    opacity = 0.12 + 0.88 * sure  # unreliable regions are pale, so that they do not look trustworthy
    warped = np.rint(255 - (255 - warp(target, drawn.points).astype(np.float32)) * opacity).astype(np.uint8)
    pictures = source, target, warped, _veil(source, drawn.worth)
    for name, picture in zip("STWC", pictures, strict=True):
        _axes(figure, boxes[name], target_size if name == "T" else source_size, picture)
    ramp = np.linspace(0, 1, boxes["bar"].width, dtype=np.float32)[None]
    _axes(figure, boxes["bar"], (1, 1), _veil(np.full((*ramp.shape, 3), 128, np.uint8), ramp))
    sheet = _axes(figure, _Box(0, 0, width, height), (height, width))  # on top, for text and points
    _draw_captions(sheet, boxes, drawing.model, drawing.note)
    starts = boxes["S"].scaled(shown.source, source_size) + boxes["S"][:2]
    ends = boxes["T"].scaled(shown.target, target_size) + boxes["T"][:2]
    _draw_points(sheet, starts, ends, shown.confidence, beside=boxes["T"].x > boxes["S"].x + boxes["S"].width)
    if file is not None:
        _write(figure, file)
    return figure


def _arrange(source: Size, target: Size) -> tuple[Size, dict[str, _Box]]:
    """Choose the mosaic and the scale that show the images largest, all with the same area."""
    layouts = (_lay_out(mosaic, source, target, scale) for scale in range(_MAX_WIDTH, 0, -5) for mosaic in _MOSAICS)
    return next((size, boxes) for size, boxes in layouts if size[0] <= _MAX_HEIGHT and size[1] <= _MAX_WIDTH)


def _lay_out(mosaic: tuple[str, ...], source: Size, target: Size, scale: int) -> tuple[Size, dict[str, _Box]]:
    """Return the size of the figure and the box of each image, drawn with an area of ``scale`` squared."""
    sizes = {}
    for name in _TITLES:
        height, width = target if name == "T" else source
        aspect = np.clip(width / height, 1 / _MAX_ASPECT, _MAX_ASPECT) ** 0.5
        sizes[name] = round(scale / aspect), round(scale * aspect)
    columns = [max(_NARROWEST, *(sizes[name][1] for name in column)) for column in zip(*mosaic, strict=True)]
    boxes = {}
    y = 0
    for row in mosaic:
        x = _MARGIN
        tallest = max(sizes[name][0] for name in row)
        for name, column in zip(row, columns, strict=True):
            height, width = sizes[name]
            boxes[name] = _Box(x + (column - width) // 2, y + _ABOVE + (tallest - height) // 2, width, height)
            x += column + _GAP
        y += _ABOVE + tallest + max(_BELOW[name] for name in row)
    x, y_below, width, height = boxes["C"]
    length = min(max(width, _NARROWEST), 500)
    boxes["bar"] = _Box(x + (width - length) // 2, y_below + height + 8, length, 14)
    return (y, sum(columns) + _GAP * (len(columns) - 1) + 2 * _MARGIN), boxes


def _at_size(drawing: Drawing, source: _Box, target: _Box) -> tuple[Bytes, Bytes, Direction]:
    """Resize both images and their matches to the size at which they are drawn; fast for images of any size."""
    pairs = (drawing.source, source), (drawing.target, target)
    pictures = [np.array(Image.fromarray(picture).resize(box[2:], reducing_gap=3)) for picture, box in pairs]
    direction = drawing.direction
    field = direction.field._replace(points=target.scaled(direction.field.points, direction.target_size))
    drawn = direction._replace(
        field=field, source_size=(source.height, source.width), target_size=(target.height, target.width)
    )
    return pictures[0], pictures[1], drawn


def _veil(picture: Bytes, confidence: Floats) -> Bytes:
    """Overlay the confidence, as colours, on a dimmed grey version of the image."""
    from matplotlib import colormaps

    dimmed: Floats = 25 + 0.7 * picture.mean(axis=2, keepdims=True)
    return np.rint(0.4 * dimmed + 0.6 * 255 * colormaps["viridis"](confidence)[..., :3]).astype(np.uint8)


def _axes(figure: Figure, box: _Box, size: Size, picture: Bytes | None = None) -> Axes:
    """Add axes that fill the box, in pixel coordinates of an image of this size; show the image in them."""
    height, width = size
    across, down = figure.get_size_inches() * _DPI
    place = (box.x / across, 1 - (box.y + box.height) / down, box.width / across, box.height / down)
    axes = figure.add_axes(place, xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.set_axis_off()
    if picture is not None:  # it has the size of the box: one image pixel is one figure pixel
        axes.imshow(picture, extent=(0, width, height, 0), origin="upper", aspect="auto", interpolation="nearest")
    return axes


def _text(sheet: Axes, x: float, y: float, text: str, size: float, **options: Any) -> None:
    """Write text in matplotlib's default font, regardless of the user's style sheet."""
    style: dict[str, Any] = {"color": _INK, "family": "DejaVu Sans", "ha": "center", "va": "top", "zorder": 3}
    sheet.text(x, y, text, size=size, parse_math=False, usetex=False, **{**style, **options})


def _draw_captions(sheet: Axes, boxes: dict[str, _Box], model: str, note: str) -> None:
    """Write the titles, the legends of the lower panels, the model's name, and a note over images without points."""
    for name, title in _TITLES.items():
        x, y, width, height = boxes[name]
        _text(sheet, x + width / 2, y - 8, title, 10.5, weight="bold", va="bottom", bbox=_PLATE | {"pad": 1})
    x, y, width, height = boxes["W"]
    _text(sheet, x + width / 2, y + height + 8, "pale where nothing matches, or not surely", 8.5, color=_FAINT)
    x, y, width, height = boxes["bar"]
    for value, label, side in ((0, "0 unsure", "left"), (0.5, "0.5", "center"), (1, "1 sure", "right")):
        _text(sheet, x + value * width, y + height + 4, label, 8.5, ha=side)
    credit = f"semcorr · {model}" if model else ""
    _text(sheet, _MARGIN, sheet.get_ylim()[0] - 6, credit, 8, color=_FAINT, ha="left", va="bottom")
    for x, y, width, height in (boxes["S"], boxes["T"]) if note else ():
        _text(sheet, x + width / 2, y + height / 2, note, 8.5, va="center", bbox=_PLATE | {"pad": 6})


def _colours(points: Floats) -> NDArray[np.float64]:
    """Colour points ``(N, 2)`` by their rank along both axes, ``(N, 3)`` RGB: similar but distinct for neighbours."""
    rank = np.argsort(np.argsort(points, axis=0, kind="stable"), axis=0, kind="stable")
    across, down = (np.stack([1 - part, part], axis=1) for part in rank.T / max(1, len(points) - 1))  # (N, 2)
    mixed = np.einsum("ny,nx,yxc->nc", down, across, _CORNERS)
    # Mixtures near the middle are grey: stretch their channels to about the saturation of the corners.
    grey, spread = mixed.mean(axis=1, keepdims=True), np.ptp(mixed, axis=1, keepdims=True)
    return np.asarray(np.clip(grey + (mixed - grey) * np.maximum(1, 0.6 / spread), 0, 1))


def _draw_points(sheet: Axes, starts: Floats, ends: Floats, confidence: Floats, beside: bool) -> None:
    """Draw a dot at both ends of each match; if there are few, also its number and a line between the dots."""
    colours = _colours(starts)
    if len(starts) > _NUMBERED:
        for x, y in (starts.T, ends.T):
            sheet.scatter(x, y, s=22, c=colours, marker="o", edgecolors="white", linewidths=0.7, zorder=4)
        return
    steps = np.linspace(0, 1, 32)
    bent = np.stack([steps, steps**2 * (3 - 2 * steps)][:: 1 if beside else -1], axis=1)  # straight at both ends
    for index, (start, end, colour) in enumerate(zip(starts, ends, colours, strict=True)):
        curve = start + (end - start) * bent  # (32, 2)
        edge = (*colour, 0.3 + 0.5 * float(np.clip(confidence[index], 0, 1)))
        sheet.plot(curve[:, 0], curve[:, 1], color=edge, linestyle="-", linewidth=1.1, marker="", zorder=2)
        order = 5 - index / _NUMBERED  # the first and most confident are on top
        ink = "white" if colour @ (0.299, 0.587, 0.114) < 0.55 else _INK
        for x, y in (start, end):
            sheet.scatter([x], [y], s=144, color=colour, marker="o", edgecolors="white", linewidths=0.9, zorder=order)
            _text(sheet, x, y, str(index + 1), 7.2, weight="bold", color=ink, va="center_baseline", zorder=order)
        _text(sheet, end[0], end[1] + 13, f"{confidence[index]:.2f}", 5.5, bbox=_PLATE | {"pad": 0.6}, zorder=order)


def _check_path(path: Path) -> Path:
    """Check, before anything is drawn, that the figure can be written to this path."""
    supported = [ending for ending in (*_RASTER, *_VECTOR) if ending != ".webp" or features.check("webp")]
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; expected a file: {str(path / 'match.png')!r}, for example")
    if path.suffix.lower() not in supported:
        given = f"ends in {path.suffix!r}{did_you_mean(path.suffix, supported)}" if path.suffix else "has no suffix"
        raise ValueError(f"{str(path)!r} {given}; expected one of {', '.join(supported)}")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"{str(path)!r} cannot be written: folder {str(path.parent)!r} does not exist; create it first"
        )
    return path


def _write(figure: Figure, path: Path) -> None:
    """Write the figure atomically: if writing fails, the old file is kept."""
    stream, ending = io.BytesIO(), path.suffix.lower()
    if ending in _VECTOR:
        figure.savefig(stream, format=ending[1:], dpi=_DPI, facecolor="white", metadata={_VECTOR[ending]: None})
    else:
        canvas: Any = figure.canvas
        canvas.draw()
        pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        pixels.save(stream, _RASTER[ending], dpi=(_DPI, _DPI), quality=90, compress_level=4)
    try:
        write_bytes(path, stream.getvalue())
    except OSError as error:
        reason = f"{str(path)!r} cannot be written ({error.strerror or error})"
        raise type(error)(f"{reason}; free disk space, or choose a folder with write permission") from error
