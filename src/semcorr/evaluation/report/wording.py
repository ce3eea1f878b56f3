"""The sentences of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from semcorr.evaluation.report.tables import counted
from semcorr.evaluation.results import Evaluation
from semcorr.metrics.selective import Ranking

LENGTHS = {
    "image": "the longer side of the target picture",
    "bbox": "the longer side of the target's bounding box",
    "keypoints": "the longer side of the extent of the target's keypoints",
}
"""Threshold to the reference length that α is a fraction of."""
SPACES = {"native": "native pixels", "square": "pixels after squashing both pictures to a square"}
"""Space to the unit of distances."""


def protocol(evaluation: Evaluation) -> str:
    """Return a paragraph that defines the figures of the report."""
    scores = evaluation.scores
    skipped = f"; broken and left out: {len(evaluation.skipped)}" if evaluation.skipped else ""
    return (
        f"{evaluation.dataset}: {counted(scores.pairs, 'pair')}, {counted(scores.points, 'point')}{skipped}. PCK in "
        "per cent: points are transferred from the source to the target, and are correct within α times "
        f"{LENGTHS[evaluation.threshold]}, in {SPACES[evaluation.space]}."
    )


def calibration_line(evaluation: Evaluation) -> str:
    """Return sentences on how well the confidence is calibrated and orders the matches."""
    calibration, ranking = evaluation.scores.calibration, evaluation.scores.ranking
    if calibration is None or ranking is None:
        return f"{evaluation.model}: not every point has a confidence, so that its calibration is unknown."
    alpha = max(evaluation.scores.per_image)
    count = sum(calibration.counts)
    confidence, accuracy = (
        sum(n * value for n, value in zip(calibration.counts, values, strict=True) if n) / count
        for values in (calibration.confidence, calibration.accuracy)
    )
    return (
        f"{evaluation.model}: expected calibration error {100 * calibration.error:.1f} percentage points at "
        f"α = {alpha:g}. The mean confidence is {100 * confidence:.1f} %, and {100 * accuracy:.1f} % of the points are "
        f"correct. {_ranking(ranking)}"
    )


def _ranking(ranking: Ranking) -> str:
    area = f"The area under risk and coverage is {ranking.risk:.3f}."
    if ranking.auroc is None or ranking.false_matches is None:
        return area
    return (
        f"It tells correct from wrong matches with an AUROC of {ranking.auroc:.3f}; at the threshold that keeps 90 % "
        f"of the correct ones, {ranking.false_matches:.2f} wrong ones remain per pair. {area}"
    )


def left_out_lines(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return a line for everything that was not evaluated: broken entries, and what cannot be scored."""
    counts = [f"{count} {what}" for what, count in evaluations[0].left_out.items()]
    return [*counts, *dict.fromkeys(reason for evaluation in evaluations for reason in evaluation.skipped)]


def _libraries(source: Mapping[str, str]) -> str:
    names = {"onnxruntime": "ONNX Runtime", "torch": "torch"}
    return ", ".join(f"{name} {source[key]}" for key, name in names.items() if key in source)


def origin_lines(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return lines that tell how to get the figures again: version, command, machine, weights."""
    source = evaluations[0].origin
    lines = []
    if source:
        versions = f"semcorr {source['semcorr']}, {_libraries(source)}, Python {source['python']}"
        threads = counted(int(source["threads"]), "thread")
        lines = [versions, source["command"], f"{source['machine']}; {source['device']}, {threads}"]
    for evaluation in evaluations:
        checksums = evaluation.settings.get("weights")
        if isinstance(checksums, dict) and checksums:
            files = ", ".join(f"{file} {str(checksum)[:12]}" for file, checksum in checksums.items())
            lines.append(f"{evaluation.model}: weights (SHA-256) {files}")
        if evaluation.cost is not None and evaluation.cost.machine:
            lines.append(f"{evaluation.model}: time and memory measured with {evaluation.cost.machine}")
    return lines
