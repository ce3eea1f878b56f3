"""Torch version of `semcorr.matchers.pmnc.coarse`, for any device."""

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
    """How to search the cells, given the matches of their tiles.

    Attributes:
        near: Pairs of tiles whose cells are correlated, ``(B, Hs, Ws, Ht, Wt)``, bool.
        initial: Pairs of cells to start from, ``p · Q + q``, ``(B, N)``, int64.
        certainty: Confidence of the tile match of each source cell ``(B, hs, ws)`` and of each target cell
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
        factor: Cells along each side of a tile.
        match_tiles: Scores pairs of tiles, given the tile features of both images.
        match_cells: Scores pairs of cells, given the cell features of both images, padded to whole tiles, and the plan.

    Returns:
        The scored pairs of cells.
    """
    plan = make_plan(match_tiles(tiles_of(source, factor), tiles_of(target, factor)), factor)
    scored = match_cells(whole_tiles(source, factor), whole_tiles(target, factor), plan)
    return _crop(scored, (*source.shape[2:], *target.shape[2:]), plan.certainty)


def whole_tiles(features: Tensor, factor: int) -> Tensor:
    """Repeat the last row and column of ``(B, C, h, w)`` until both are multiples of ``factor``."""
    rows, columns = (-size % factor for size in features.shape[2:])
    return F.pad(features, (0, columns, 0, rows), mode="replicate") if rows or columns else features


def tiles_of(features: Tensor, factor: int) -> Tensor:
    """Return the L2-normalised mean features of tiles, ``(B, C, ceil(h / factor), ceil(w / factor))``."""
    return F.normalize(F.avg_pool2d(whole_tiles(features, factor), factor), dim=1) if factor > 1 else features


def make_plan(scores: Tensor | ScoredPairs, factor: int) -> Plan:
    """Plan the search of the cells, given the scores of their tiles.

    Args:
        scores: Scores of pairs of tiles, as a table or a list.
        factor: Cells along each side of a tile.
    """
    forward, backward = decode(scores, radius=DECODED)
    table = scores.table() if isinstance(scores, ScoredPairs) else scores
    hs, ws, ht, wt = table.shape[1:]
    targets = ht * wt * factor**2
    near, initial = torch.zeros_like(table, dtype=torch.bool), []
    for of_source, of_target in zip(_modes(table), _modes(table.permute(0, 3, 4, 1, 2)), strict=True):
        near |= _near(of_source, (ht, wt)) | _near(of_target, (hs, ws)).permute(0, 3, 4, 1, 2)
        matched_q, matched_p = _follow(of_source, (ht, wt), factor), _follow(of_target, (hs, ws), factor)
        p, q = (torch.arange(cells.shape[1], device=cells.device) for cells in (matched_q, matched_p))
        initial += [p * targets + matched_q, matched_p * targets + q]  # (B, P), (B, Q)
    certainty = _enlarge(forward.confidence, factor), _enlarge(backward.confidence, factor)
    return Plan(near, torch.cat(initial, dim=1), certainty)


def banded_correlation(source: Tensor, target: Tensor, near: Tensor, factor: int) -> Tensor:
    """Correlate the cells of tiles that are near a match, and the mean features of all other tiles.

    Args:
        source: L2-normalised features ``(B, C, hs, ws)`` of whole tiles.
        target: Likewise, ``(B, C, ht, wt)``.
        near: As in `Plan`.
        factor: Cells along each side of a tile.

    Returns:
        ``(B, hs, ws, ht, wt)``.
    """
    means = cosine_correlation(F.avg_pool2d(source, factor), F.avg_pool2d(target, factor))
    for dim in (1, 2, 3, 4):
        near, means = near.repeat_interleave(factor, dim), means.repeat_interleave(factor, dim)
    return torch.where(near, cosine_correlation(source, target), means)


def _crop(scored: ScoredPairs, shape: tuple[int, ...], certainty: tuple[Tensor, Tensor]) -> ScoredPairs:
    """Remove the cells that `whole_tiles` added."""
    hs, ws, ht, wt = shape
    kept_pairs, kept_scores = [], []
    _, columns, target_rows, target_columns = scored.shape
    for pairs, scores in zip(scored.pairs, scored.scores, strict=True):
        if scored.shape != shape:
            p, q = pairs // (target_rows * target_columns), pairs % (target_rows * target_columns)
            (py, px), (qy, qx) = (p // columns, p % columns), (q // target_columns, q % target_columns)
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
    modes: list[Tensor] = []
    for _ in range(MODES):
        cells = soft_argmax(flat, DECODED)[0]
        modes.append(torch.where(cells.isfinite(), cells, modes[0]) if modes else cells)
        best = flat.flatten(1).argmax(1)[:, None]
        window = ((y - best // width).abs() <= DECODED)[:, :, None] & ((x - best % width).abs() <= DECODED)[:, None]
        flat.masked_fill_(window, -torch.inf)
    return [cells.view(batch, rows, columns, 2) for cells in modes]


def _near(matches: Tensor, grid: tuple[int, int]) -> Tensor:
    """Mark the tiles of the other image around each match: ``(B, h, w, 2)`` to ``(B, h, w, *grid)``."""
    rows, columns = (torch.arange(size, device=matches.device) for size in grid)
    rounded = matches.round()
    by_row = (rows - rounded[..., 1:]).abs() <= BAND  # (B, h, w, rows)
    by_column = (columns - rounded[..., :1]).abs() <= BAND  # (B, h, w, columns)
    return by_row[..., None] & by_column[..., None, :]


def _follow(matches: Tensor, grid: tuple[int, int], factor: int) -> Tensor:
    """Match every cell to the cell at the same position within the match of its tile: ``(B, cells)``, int64."""
    corners = (matches * factor).round().long()  # (B, h, w, 2)
    steps = torch.arange(factor, device=matches.device)
    limits = grid[0] * factor - 1, grid[1] * factor - 1
    y = (corners[..., 1, None] + steps).clamp(0, limits[0])  # (B, rows, columns, factor)
    x = (corners[..., 0, None] + steps).clamp(0, limits[1])
    cells = y[..., None] * (limits[1] + 1) + x[..., None, :]  # (B, rows, columns, factor, factor)
    return cells.transpose(2, 3).flatten(1)


def _enlarge(values: Tensor, factor: int) -> Tensor:
    return values.repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def search_banded(
    source: Tensor, target: Tensor, plan: Plan, scoring: ScoringFunction, options: SearchOptions, factor: int
) -> ScoredPairs:
    """Search the cells of tiles that were matched before, in a banded map that is held in memory as a whole.

    Args:
        source: L2-normalised features ``(B, C, hs, ws)`` of whole tiles.
        target: Likewise, ``(B, C, ht, wt)``.
        plan: The plan from the match of the tiles.
        scoring: The scoring function.
        options: Options of the search.
        factor: Cells along each side of a tile, and the spacing of the scoring window's cells.

    Returns:
        The scored pairs.
    """
    maps = correlation_channels(banded_correlation(source, target, plan.near, factor).float())
    return list_scored(search_on_device(maps, scoring, options, factor, plan.initial, None))
