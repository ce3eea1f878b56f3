import pytest
import torch
import torch.nn.functional as F

from semcorr.features.adapter import Adapter


def features(rows=6, columns=7):
    return F.normalize(torch.randn(2, 12, rows, columns, generator=torch.Generator().manual_seed(0)), dim=1)


def test_it_starts_as_the_identity():
    torch.testing.assert_close(Adapter(12, 8)(features()), features())


def test_it_learns_and_stays_normalised():
    adapter = Adapter(12, 8)
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
