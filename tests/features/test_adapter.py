import math

import pytest
import torch
import torch.nn.functional as F

from semcorr.features.adapter import HEADS, Adapter, Attention


def features(rows=6, columns=7):
    return F.normalize(torch.randn(2, 12, rows, columns, generator=torch.Generator().manual_seed(0)), dim=1)


@pytest.mark.parametrize("attention", [0, 8])
def test_it_begins_at_identity(attention):
    torch.testing.assert_close(Adapter(12, 8, attention)(features()), features())


@pytest.mark.parametrize("attention", [0, 8])
def test_it_learns_and_stays_normalised(attention):
    adapter = Adapter(12, 8, attention)
    optimizer = torch.optim.Adam(adapter.parameters(), 1e-2)
    wanted = F.normalize(torch.randn(2, 12, 6, 7, generator=torch.Generator().manual_seed(1)), dim=1)
    losses = []
    for _ in range(30):
        loss = (adapter(features()) - wanted).square().sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    torch.testing.assert_close(adapter(features()).norm(dim=1), torch.ones(2, 6, 7))


@pytest.mark.parametrize("dilation", [2, 3])
def test_dilation_sees_the_same_cells_of_a_finer_grid(dilation):
    """On a grid that repeats every cell, the centre of the repeated cell gets what the cell got."""
    torch.manual_seed(0)
    adapter = Adapter(12, 8)
    torch.nn.init.normal_(adapter.leave.weight, std=0.5)
    coarse = features()
    fine = coarse.repeat_interleave(dilation, 2).repeat_interleave(dilation, 3)
    found = adapter(fine, dilation)[:, :, dilation // 2 :: dilation, dilation // 2 :: dilation]
    torch.testing.assert_close(found, adapter(coarse), atol=1e-4, rtol=0)


def by_hand(attention: Attention, values: torch.Tensor) -> torch.Tensor:
    """Attention cell by cell, for one picture."""
    rows, columns = values.shape[1:]
    known, side = attention.norm(values[None])[0].flatten(1).T, (rows * columns) ** 0.5
    looked = []
    for index in range(rows * columns):
        y, x = (index // columns + 0.5 - rows / 2) / side, (index % columns + 0.5 - columns / 2) / side
        angles = [[math.pi * 2.0**k * place for k in range(4)] for place in (y, x)]
        waves = [wave(a) for part in angles for wave in (math.sin, math.cos) for a in part]
        place = attention.place.weight[:, :, 0, 0] @ torch.tensor(waves) + attention.place.bias
        looked.append(attention.look.weight[:, :, 0, 0] @ (known[index] + place) + attention.look.bias)
    query, key, value = torch.stack(looked).view(rows * columns, 3, HEADS, -1).unbind(1)  # (cells, heads, width)
    seen = torch.empty_like(value)
    for head in range(HEADS):
        weights = (query[:, head] @ key[:, head].T / query.shape[2] ** 0.5).softmax(1)
        seen[:, head] = weights @ value[:, head]
    out = seen.flatten(1) @ attention.see.weight[:, :, 0, 0].T + attention.see.bias
    return values + out.T.view_as(values)


def test_attention_as_its_definition():
    torch.manual_seed(0)
    attention = Attention(12, 8)
    torch.nn.init.normal_(attention.see.weight)
    values = torch.randn(2, 12, 5, 7)
    expected = torch.stack([by_hand(attention, one) for one in values])
    torch.testing.assert_close(attention(values), expected, atol=1e-4, rtol=1e-4)


def test_attention_sees_beyond_the_convolutions_and_mirrors_differ():
    torch.manual_seed(0)
    adapter = Adapter(12, 8, 8)
    for layer in (adapter.attention.see, adapter.leave):
        torch.nn.init.normal_(layer.weight)
    changed = features(20, 20)
    changed[:, :, 0, 0] = changed[:, :, 5, 5]
    with torch.no_grad():
        assert not torch.allclose(adapter(features(20, 20))[:, :, -1, -1], adapter(changed)[:, :, -1, -1], atol=1e-7)
        assert not torch.allclose(adapter(features().flip(3)).flip(3), adapter(features()), atol=1e-2)
