"""The pictures of a report: PCK curves, calibration, and pairs with correct and wrong matches."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from semcorr.data.pairs import Photo
from semcorr.errors import ImageError
from semcorr.evaluation.report.tables import correct
from semcorr.evaluation.results import Evaluation
from semcorr.image import load_image
from semcorr.match.types import Bytes
from semcorr.metrics.pck import CURVE
from semcorr.palette import BLUE, LINES, ORANGE, YELLOW

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEGEND_ROW = 0.22  # inches
_SIDE = 320  # pixels of the longer side of a picture in a gallery
_PAGE, _ROW, _TITLE, _GAP = 11.0, 2.8, 0.26, 0.06  # inches: the figure's width, most height of a row, and gaps
_CORRECT, _WRONG, _GIVEN = BLUE, ORANGE, YELLOW


def curves(evaluations: Sequence[Evaluation]) -> str:
    """Plot PCK against α for all methods, and return a data URI."""
    return _svg(draw_curves(evaluations))


def draw_curves(evaluations: Sequence[Evaluation]) -> Figure:
    """Plot PCK against α for all methods; the legend is beside the axes and hides no curve."""
    figure, axes = _canvas(5.8, 3.6 + _LEGEND_ROW * len(evaluations))
    for evaluation, colour in zip(evaluations, LINES * len(evaluations), strict=False):
        label = f"{evaluation.model} (area {evaluation.scores.area:.1f})"
        axes.plot(CURVE, evaluation.scores.curve, color=colour, linewidth=2, label=label)
    axes.set(xlabel="α", ylabel="PCK per image, %", xlim=(0, max(CURVE)), ylim=(0, 100))
    figure.legend(frameon=False, loc="outside lower left")
    return figure


def calibration(evaluations: Sequence[Evaluation]) -> str:
    """Plot the accuracy of matches against their confidence, and return a data URI."""
    return _svg(draw_calibration(evaluations))


def draw_calibration(evaluations: Sequence[Evaluation]) -> Figure:
    """Plot the accuracy of matches against their confidence; the legend is beside the axes and hides no curve."""
    figure, axes = _canvas(4.2, 3.6 + _LEGEND_ROW * (len(evaluations) + 1))
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--", label="calibrated")
    for evaluation, colour in zip(evaluations, LINES * len(evaluations), strict=False):
        if evaluation.scores.calibration is not None:
            bins = evaluation.scores.calibration
            style: dict[str, Any] = {"color": colour, "marker": "o", "linewidth": 2, "clip_on": False}
            axes.plot(bins.confidence, bins.accuracy, label=evaluation.model, **style)
    axes.set(xlabel="confidence", ylabel="fraction correct", xlim=(0, 1), ylim=(0, 1))
    figure.legend(frameon=False, loc="outside lower left")
    return figure


def source_picture(evaluation: Evaluation, index: int) -> str | None:
    """Draw a pair's source with its keypoints, and return a data URI, or None if the picture cannot be read."""
    pair = evaluation.pairs[index]
    figure, axes = _photograph(pair.source)
    if figure is None or axes is None:
        return None
    x, y = pair.points()[0].T
    axes.scatter(x, y, s=26, c=_GIVEN, edgecolors="black", linewidths=0.8)
    return _jpeg(figure)


def answer_picture(evaluation: Evaluation, index: int, alpha: float) -> str | None:
    """Draw a method's matches on the target: correct ones as discs, wrong ones as crosses with a line to the truth."""
    figure, axes = _photograph(evaluation.pairs[index].target)
    if figure is None or axes is None:
        return None
    _draw_answer(axes, evaluation, index, alpha)
    return _jpeg(figure)


def side_by_side(evaluations: Sequence[Evaluation], indices: Sequence[int], alpha: float) -> bytes:
    """Draw a row for each pair: the source, and the matches of every method on the target.

    Rows are as wide as the page allows; pairs with a picture that cannot be read are left out.

    Returns:
        A PNG file.
    """
    from matplotlib.figure import Figure

    rows = [(index, pictures) for index in indices if (pictures := _pictures(evaluations[0], index)) is not None]
    columns = len(evaluations) + 1
    heights = []
    for _, (source, target) in rows:
        aspect = source.shape[1] / source.shape[0] + len(evaluations) * target.shape[1] / target.shape[0]
        heights.append(min(_ROW, (_PAGE - columns * _GAP) / aspect))
    total = sum(heights) + len(rows) * (_TITLE + _GAP) + _GAP + _TITLE
    figure = Figure(figsize=(_PAGE, total), dpi=130, facecolor="white")
    top = total
    for (index, pictures), height in zip(rows, heights, strict=True):
        top -= _TITLE + height + _GAP
        _draw_row(figure, evaluations, index, alpha, pictures, (top, height))
    figure.text(
        0.5,
        _GAP / total,
        f"disc: within α = {alpha:g} of the truth; cross: not, with a line to the truth",
        ha="center",
        fontsize=9,
        color="#444444",
    )
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _draw_row(
    figure: Figure,
    evaluations: Sequence[Evaluation],
    index: int,
    alpha: float,
    pictures: tuple[Bytes, Bytes],
    place: tuple[float, float],
) -> None:
    """Draw one pair, centred; ``place`` is the distance from the lower edge and the height, in inches."""
    bottom, height = place
    pair = evaluations[0].pairs[index]
    cells = [(pair.source, pictures[0]), *[(pair.target, pictures[1])] * len(evaluations)]
    widths = [height * image.shape[1] / image.shape[0] for _, image in cells]
    left = (_PAGE - sum(widths) - (len(cells) - 1) * _GAP) / 2
    page = (_PAGE, float(figure.get_figheight()))
    for number, ((photo, image), width) in enumerate(zip(cells, widths, strict=True)):
        rectangle = (left / page[0], bottom / page[1], width / page[0], height / page[1])
        axes = _picture_axes(figure, rectangle, photo, image)
        if number == 0:
            x, y = pair.points()[0].T
            axes.scatter(x, y, s=26, c=_GIVEN, edgecolors="black", linewidths=0.8)
            axes.set_title("source", fontsize=10, pad=4)
        else:
            evaluation = evaluations[number - 1]
            _draw_answer(axes, evaluation, index, alpha)
            axes.set_title(f"{evaluation.model}: {correct(evaluation.errors[index], alpha)}", fontsize=10, pad=4)
        left += width + _GAP


def _draw_answer(axes: Axes, evaluation: Evaluation, index: int, alpha: float) -> None:
    prediction, truth = evaluation.predictions[index], evaluation.pairs[index].points()[1]
    for (x, y), (u, v), error in zip(prediction.points, truth, evaluation.errors[index], strict=True):
        if error <= alpha:
            axes.scatter([x], [y], s=30, c=_CORRECT, edgecolors="white", linewidths=0.9, zorder=3)
        else:
            axes.plot([x, u], [y, v], color=_WRONG, linewidth=1.2, zorder=2)
            axes.scatter([x], [y], s=34, c=_WRONG, marker="X", edgecolors="white", linewidths=0.7, zorder=3)


def _pictures(evaluation: Evaluation, index: int) -> tuple[Bytes, Bytes] | None:
    pair = evaluation.pairs[index]
    try:
        return load_image(pair.source.path), load_image(pair.target.path)
    except (ImageError, OSError):
        return None


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _photograph(photo: Photo) -> tuple[Figure | None, Axes | None]:
    from matplotlib.figure import Figure

    try:
        image = load_image(photo.path)
    except (ImageError, OSError):  # moved or damaged since it was matched
        return None, None
    height, width = photo.size
    scale = _SIDE / max(height, width)
    shown = (max(1, round(width * scale)), max(1, round(height * scale)))
    small: Bytes = np.asarray(Image.fromarray(image).resize(shown))
    figure = Figure(figsize=(shown[0] / 100, shown[1] / 100), dpi=100)
    return figure, _picture_axes(figure, (0, 0, 1, 1), photo, small)


def _picture_axes(figure: Figure, place: tuple[float, float, float, float], photo: Photo, image: Bytes) -> Axes:
    """Show a picture in axes whose units are the pixels of its file."""
    height, width = photo.size
    axes = figure.add_axes(place, xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.set_axis_off()
    axes.imshow(image, extent=(0, width, height, 0), aspect="auto")
    return axes


def _svg(figure: Figure) -> str:
    from matplotlib import rc_context

    stream = io.StringIO()
    with rc_context({"svg.hashsalt": "semcorr", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return _uri("image/svg+xml", stream.getvalue().encode())


def _jpeg(figure: Figure) -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    stream = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(stream, "JPEG", quality=82)
    return _uri("image/jpeg", stream.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
