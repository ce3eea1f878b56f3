"""`semcorr.matchers.pmnc.coarse` in torch, on any device."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from semcorr.matchers.dense.correlation import correlation_channels, cosine_correlation
from semcorr.matchers.dense.decode import decode, soft_argmax
from semcorr.matchers.dense.scores import ScoredPairs, list_scored
from semcorr.matchers.pmnc.coarse import BAND, DECODED, MODES
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.matchers.pmnc.gpu.search import search_on_device
from semcorr.matchers.pmnc.search import SearchOptions


class Plan(NamedTuple):
    """What the search of tiles leaves to be done.

    Attributes:
        near: Pairs of tiles whose cells are to be correlated, ``(B, Hs, Ws, Ht, Wt)``, bool.
        initial: Pairs of cells to begin with, ``p · Q + q``, ``(B, N)``, int64.
        certainty: Confidence of the match of each source cell's tile and of each target cell's, ``(B, hs, ws)`` and
            ``(B, ht, wt)``.
    """

    near: Tensor
    initial: Tensor
    certainty: tuple[Tensor, Tensor]


def coarse_to_fine(
    source: Tensor,
    target: Tensor,
    factor: int,
    match_tiles: Callable[[Tensor, Tensor], Tensor | ScoredPairs],
    match_cells: Callable[[Tensor, Tensor, Plan], ScoredPairs],
) -> ScoredPairs:
    """Match tiles, then cells.

    Args:
        source: L2-normalised features ``(B, C, hs, ws)``.
        target: Likewise, ``(B, C, ht, wt)``.
        factor: Cells to a side of a tile.
        match_tiles: Scores pairs of tiles, from the features of both pictures' tiles.
        match_cells: Scores pairs of cells, from the features of both pictures' cells, in whole tiles, and the plan.

    Returns:
        The pairs of cells that were scored.
    """
    whole_source, whole_target = whole_tiles(source, factor), whole_tiles(target, factor)
    made = plan(match_tiles(tiles_of(source, factor), tiles_of(target, factor)), factor)
    found = match_cells(whole_source, whole_target, made)
    return _crop(found, (*source.shape[2:], *target.shape[2:]), made.certainty)


def whole_tiles(features: Tensor, factor: int) -> Tensor:
    """Repeat the last row and column of ``(B, C, h, w)`` until both are multiples of ``factor``."""
    rows, columns = (-size % factor for size in features.shape[2:])
    return F.pad(features, (0, columns, 0, rows), mode="replicate") if rows or columns else features


def tiles_of(features: Tensor, factor: int) -> Tensor:
    """Return the L2-normalised mean features of tiles, ``(B, C, ceil(h / factor), ceil(w / factor))``."""
    return F.normalize(F.avg_pool2d(whole_tiles(features, factor), factor), dim=1) if factor > 1 else features


def plan(scores: Tensor | ScoredPairs, factor: int) -> Plan:
    """Decide from the scores of tiles where to search.

    Args:
        scores: Of pairs of tiles, a table or a list, as a matcher returns them.
        factor: Cells to a side of a tile.
    """
    forward, backward = decode(scores, radius=DECODED)
    table = scores.table() if isinstance(scores, ScoredPairs) else scores
    hs, ws, ht, wt = table.shape[1:]
    targets = ht * wt * factor**2
    near, initial = torch.zeros_like(table, dtype=torch.bool), []
    for there, back in zip(_modes(table), _modes(table.permute(0, 3, 4, 1, 2)), strict=True):
        near |= _near(there, (ht, wt)) | _near(back, (hs, ws)).permute(0, 3, 4, 1, 2)
        forth, home = _follow(there, (ht, wt), factor), _follow(back, (hs, ws), factor)  # (B, P), (B, Q)
        p, q = (torch.arange(cells.shape[1], device=cells.device) for cells in (forth, home))
        initial += [p * targets + forth, home * targets + q]
    certainty = _enlarge(forward.confidence, factor), _enlarge(backward.confidence, factor)
    return Plan(near, torch.cat(initial, dim=1), certainty)


def banded_correlation(source: Tensor, target: Tensor, near: Tensor, factor: int) -> Tensor:
    """Correlate the cells of tiles that are near each other, and the means of all other tiles: the plain, dense way.

    Args:
        source: L2-normalised features ``(B, C, hs, ws)`` of whole tiles.
        target: Likewise, ``(B, C, ht, wt)``.
        near: As in `Plan`.
        factor: Cells to a side of a tile.

    Returns:
        ``(B, hs, ws, ht, wt)``.
    """
    means = cosine_correlation(F.avg_pool2d(source, factor), F.avg_pool2d(target, factor))
    for dim in (1, 2, 3, 4):
        near, means = near.repeat_interleave(factor, dim), means.repeat_interleave(factor, dim)
    return torch.where(near, cosine_correlation(source, target), means)


def _crop(found: ScoredPairs, shape: tuple[int, ...], certainty: tuple[Tensor, Tensor]) -> ScoredPairs:
    """Leave out the cells that `whole_tiles` added."""
    hs, ws, ht, wt = shape
    kept_pairs, kept_scores = [], []
    for pairs, scores in zip(found.pairs, found.scores, strict=True):
        if found.shape != shape:
            p, q = pairs // (found.shape[2] * found.shape[3]), pairs % (found.shape[2] * found.shape[3])
            (py, px), (qy, qx) = (p // found.shape[1], p % found.shape[1]), (q // found.shape[3], q % found.shape[3])
            inside = (py < hs) & (px < ws) & (qy < ht) & (qx < wt)
            pairs, scores = (((py * ws + px) * ht + qy) * wt + qx)[inside], scores[inside]
        kept_pairs.append(pairs)
        kept_scores.append(scores)
    cropped = certainty[0][:, :hs, :ws], certainty[1][:, :ht, :wt]
    return ScoredPairs(tuple(kept_pairs), tuple(kept_scores), (hs, ws, ht, wt), cropped)


def _modes(table: Tensor) -> list[Tensor]:
    """Decode the best match of every tile, and the next best ones apart from it: each ``(B, h, w, 2)``."""
    batch, rows, columns, height, width = table.shape
    flat = table.flatten(0, 2).clone()  # (N, height, width)
    y, x = torch.arange(height, device=table.device), torch.arange(width, device=table.device)
    found: list[Tensor] = []
    for _ in range(MODES):
        cells = soft_argmax(flat, DECODED)[0]
        found.append(torch.where(cells.isfinite(), cells, found[0]) if found else cells)
        best = flat.flatten(1).argmax(1)[:, None]
        around = ((y - best // width).abs() <= DECODED)[:, :, None] & ((x - best % width).abs() <= DECODED)[:, None]
        flat.masked_fill_(around, -torch.inf)
    return [cells.view(batch, rows, columns, 2) for cells in found]


def _near(matches: Tensor, grid: tuple[int, int]) -> Tensor:
    """Mark the tiles of the other picture around each match: ``(B, h, w, 2)`` to ``(B, h, w, *grid)``."""
    rows, columns = (torch.arange(size, device=matches.device) for size in grid)
    whole = matches.round()
    by_row = (rows - whole[..., 1:]).abs() <= BAND  # (B, h, w, rows)
    by_column = (columns - whole[..., :1]).abs() <= BAND  # (B, h, w, columns)
    return by_row[..., None] & by_column[..., None, :]


def _follow(matches: Tensor, grid: tuple[int, int], factor: int) -> Tensor:
    """Send every cell where its tile went, to the place in the tile that it has itself: ``(B, cells)``, int64."""
    begins = (matches * factor).round().long()  # (B, h, w, 2)
    phases = torch.arange(factor, device=matches.device)
    limits = grid[0] * factor - 1, grid[1] * factor - 1
    y = (begins[..., 1, None] + phases).clamp(0, limits[0])  # (B, rows, columns, factor)
    x = (begins[..., 0, None] + phases).clamp(0, limits[1])
    cells = y[..., None] * (limits[1] + 1) + x[..., None, :]  # (B, rows, columns, factor, factor)
    return cells.transpose(2, 3).flatten(1)


def _enlarge(values: Tensor, factor: int) -> Tensor:
    return values.repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def search_banded(
    source: Tensor, target: Tensor, made: Plan, scoring: ScoringFunction, options: SearchOptions, factor: int
) -> ScoredPairs:
    """Search the cells of tiles that were matched already, in a banded map that is held whole.

    Args:
        source: L2-normalised features ``(B, C, hs, ws)`` of whole tiles.
        target: Likewise, ``(B, C, ht, wt)``.
        made: The plan.
        scoring: The scoring function.
        options: How to search.
        factor: Cells to a side of a tile, and the spacing of the scoring window's cells.

    Returns:
        The pairs that were scored.
    """
    maps = correlation_channels(banded_correlation(source, target, made.near, factor).float())
    return list_scored(search_on_device(maps, scoring, options, factor, made.initial, None))
