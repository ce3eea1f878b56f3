import pytest
import torch
import torch.nn.functional as F

from semcorr.matchers.dense.correlation import (
    correlation_channels,
    cosine_correlation,
    quick_products,
    soft_mutual_filter,
)


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_cosines_by_hand():
    a = torch.tensor([[1.0, 0.0], [0.6, 0.8]]).T.view(1, 2, 1, 2)  # two cells
    b = torch.tensor([[0.0, 1.0]]).T.view(1, 2, 1, 1)
    assert cosine_correlation(a, b)[0, 0, :, 0, 0].tolist() == pytest.approx([0.0, 0.8])


@pytest.mark.parametrize("batch", [1, 3])
def test_shapes_and_exchange(batch):
    a, b = features(batch, 8, 3, 4), features(batch, 8, 5, 2, seed=1)
    there, back = cosine_correlation(a, b), cosine_correlation(b, a)
    assert there.shape == (batch, 3, 4, 5, 2)
    torch.testing.assert_close(there, back.permute(0, 3, 4, 1, 2))


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 8, 3, 4\) and \(1, 9, 3, 4\)"):
        cosine_correlation(torch.zeros(1, 8, 3, 4), torch.zeros(1, 9, 3, 4))


def test_mutual_filter_by_hand():
    # source cells p0, p1; target cells q0, q1
    c = torch.tensor([[0.8, 0.4], [0.2, -0.5]]).view(1, 1, 2, 1, 2)
    m = soft_mutual_filter(c, eps=0.0).view(2, 2)
    # M(p0,q0) = 0.8³/(0.8·0.8); M(p0,q1) = 0.4³/(0.8·0.4); M(p1,q0) = 0.2³/(0.2·0.8); a negative one is 0
    torch.testing.assert_close(m, torch.tensor([[0.8, 0.2], [0.05, 0.0]]))


def test_mutual_filter_of_zeros_is_zero():
    assert soft_mutual_filter(-torch.ones(1, 2, 2, 2, 2)).abs().max() == 0


def test_channels_are_the_map_and_its_filtered_form():
    c = cosine_correlation(features(2, 8, 3, 4), features(2, 8, 5, 2, seed=1))
    channels = correlation_channels(c)
    torch.testing.assert_close(channels[:, 0], c)
    torch.testing.assert_close(channels[:, 1], soft_mutual_filter(c))


def test_gradient():
    a = features(1, 3, 2, 2).double().requires_grad_()
    b = features(1, 3, 2, 2, seed=1).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: correlation_channels(cosine_correlation(x, y)), (a, b))


def test_quick_products_in_several_threads_restore_the_setting():
    settings = getattr(torch.backends.mkldnn, "matmul", None)
    if settings is None:
        pytest.skip("this version of torch has no such setting")
    before = settings.fp32_precision
    first, second = quick_products(), quick_products()
    first.__enter__()
    second.__enter__()
    assert settings.fp32_precision == "bf16"
    first.__exit__(None, None, None)  # not in the order of a stack
    assert settings.fp32_precision == "bf16"
    second.__exit__(None, None, None)
    assert settings.fp32_precision == before
