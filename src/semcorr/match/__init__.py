"""The result of matching two pictures."""

from semcorr.match.result import Match
from semcorr.match.types import Field, Keypoints, Transferred

__all__ = ["Field", "Keypoints", "Match", "Transferred"]
