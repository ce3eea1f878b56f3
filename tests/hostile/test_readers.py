"""A few hundred mutated files of each kind; ``python tests/hostile/readers.py`` reads as many as wanted."""

from pathlib import Path

import pytest
from hostile.readers import fuzz, kinds

COUNT = 200


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return kinds(Path(tmp_path_factory.mktemp("fuzzing")))


@pytest.mark.parametrize(
    "kind",
    [
        *("COCO", "COCO, skipping", "keypoints", "pairs", "SPair-71k", "PF-PASCAL", "PF-PASCAL .mat", "PF-WILLOW"),
        *("points .csv", "points .json", "points, DeepLabCut", "recipe", "predictions", "cost", "checksums"),
        *("archive .zip", "archive .tar.gz"),
    ],
)
def test_every_reader_answers_or_refuses(files, kind):
    outcome = fuzz(*files[kind], COUNT, seed=1)
    assert not outcome.failures, "\n".join(outcome.failures[:3])
    assert outcome.read + outcome.refused == COUNT
    assert outcome.refused > COUNT / 20  # the mutations do reach the reader
