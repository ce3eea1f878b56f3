"""Gathering windows and scoring them in one Triton kernel, for `semcorr.patchmatch.device_search` on CUDA."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from semcorr.consensus.scoring import ScoringFunction
from semcorr.patchmatch.device_search import Score, search_on_device
from semcorr.patchmatch.search import SearchOptions, pad_maps

_PAIRS, _INNER = 32, 32  # of one program: pairs, and window values that are multiplied at once


def search_triton(
    maps: Tensor,
    scoring: ScoringFunction,
    options: SearchOptions,
    dilation: int = 1,
    initial: Tensor | None = None,
    votes: Tensor | None = None,
) -> Tensor:
    """Do as `semcorr.patchmatch.search.search`, on CUDA, or anywhere under Triton's interpreter."""
    return search_on_device(maps, scoring, options, dilation, initial, votes, _scorer)


def _scorer(maps: Tensor, scoring: ScoringFunction, dilation: int, votes: Tensor | None) -> Score:
    added = torch.zeros((), device=maps.device) if votes is None else votes.float().contiguous()
    side, channels, hidden = 2 * scoring.radius + 1, maps.shape[1], scoring.hidden
    padded, device = pad_maps(maps.float(), scoring.radius * dilation), maps.device
    steps = torch.arange(side, device=device) * dilation
    offsets = torch.arange(channels, device=device)  # of a window's values from its first, in the order of the weights
    for stride in reversed(padded.stride()[1:5]):
        offsets = (steps[:, None] * stride + offsets).flatten()
    wide = max(16, triton.next_power_of_2(hidden))
    inner = -len(offsets) % _INNER

    def widened(tensor: Tensor, *more: int) -> Tensor:
        return F.pad(tensor.detach().float(), more).contiguous()

    both = scoring.both_orders()[0].movedim(1, 3).flatten(1).view(2, hidden, -1).transpose(1, 2)  # (2, S·S·ch, hidden)
    weights = widened(both, 0, wide - hidden, 0, inner)
    mix = widened(scoring.mix.weight.T, 0, wide - hidden, 0, wide - hidden)
    bias, mix_bias, out = (
        widened(v, 0, wide - hidden) for v in (scoring.bias, scoring.mix.bias, scoring.out.weight[0])
    )
    centre = scoring.centre.detach().float().contiguous()
    last = (2 * scoring.out.bias).detach().float().contiguous()
    begins, middle = F.pad(offsets, (0, inner)), int(sum(s * scoring.radius * dilation for s in padded.stride()[1:5]))
    parameters = (weights, bias, mix, mix_bias, out, centre, last)
    sizes, strides, none = maps.shape[2:], padded.stride(), maps[:, 0].numel()

    def score(places: Tensor) -> Tensor:
        scores = torch.empty(len(places), device=device)
        if len(places):
            grid = (triton.cdiv(len(places), _PAIRS),)
            _score_places[grid](
                places, len(places), none, scores, added, padded, begins, *parameters, *sizes, *strides[:5],
                middle, len(begins), channels, wide, _PAIRS, _INNER, added.ndim > 0,
            )  # fmt: skip
        return scores

    return score


@triton.jit  # type: ignore[untyped-decorator]
def _score_places(  # type: ignore[no-untyped-def]
    places, count, none, scores, votes, padded, begins, weights, bias, mix, mix_bias, out, centre, last,
    hs, ws, ht, wt, s0, s1, s2, s3, s4,
    middle, inner, channels: tl.constexpr, wide: tl.constexpr, pairs: tl.constexpr, chunk: tl.constexpr,
    voted: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0) * pairs + tl.arange(0, pairs)
    place = tl.load(places + index, mask=index < count, other=none)
    here = place < none
    if tl.max(here.to(tl.int32), 0) > 0:
        qx, rest = place % wt, place // wt
        qy, rest = rest % ht, rest // ht
        px, rest = rest % ws, rest // ws
        corner = padded + (rest // hs) * s0 + (rest % hs) * s1 + px * s2 + qy * s3 + qx * s4
        lanes, steps = tl.arange(0, wide), tl.arange(0, chunk)
        one = tl.zeros((pairs, wide), tl.float32) + tl.load(bias + lanes)[None, :]
        other = one
        for k in range(0, inner, chunk):
            step = tl.load(begins + k + steps)
            values = tl.load(corner[:, None] + step[None, :], mask=here[:, None], other=0.0)
            weight = weights + (k + steps)[:, None] * wide + lanes[None, :]
            one = tl.dot(values, tl.load(weight), one, input_precision="ieee")
            other = tl.dot(values, tl.load(weight + inner * wide), other, input_precision="ieee")
        mixing = tl.load(mix + lanes[:, None] * wide + lanes[None, :])
        second = tl.load(mix_bias + lanes)[None, :]
        one = tl.maximum(tl.dot(tl.maximum(one, 0.0), mixing, input_precision="ieee") + second, 0.0)
        other = tl.maximum(tl.dot(tl.maximum(other, 0.0), mixing, input_precision="ieee") + second, 0.0)
        score = tl.sum((one + other) * tl.load(out + lanes)[None, :], 1) + tl.load(last)
        for channel in tl.static_range(channels):
            score += tl.load(centre + channel) * tl.load(corner + middle + channel, mask=here, other=0.0)
        if voted:
            score += tl.load(votes + place, mask=here, other=0.0)
        tl.store(scores + index, score, mask=here)
