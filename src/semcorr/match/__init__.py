"""The match of two images: transferring points, correcting, warping and plotting."""

from semcorr.match.result import Match
from semcorr.match.types import Field, Keypoints, Transferred

__all__ = ["Field", "Keypoints", "Match", "Transferred"]
