"""4-D convolution against its definition, eight nested loops in float64."""

import itertools

import pytest
import torch

from semcorr.matchers.dense import conv4d as conv4d_module
from semcorr.matchers.dense.conv4d import Conv4d, _choose_fold, conv4d

BLOCKS = (1, 700, 3000, 10**9)  # bytes: single cells, parts of rows, some rows, everything


def by_definition(inputs, weight, bias=None):
    """Sum over four positions and four offsets; channels and batch are left to one small product."""
    batch, _, *sizes = inputs.shape
    result = torch.zeros(batch, weight.shape[0], *sizes, dtype=torch.float64)
    kernel = weight.shape[2:]
    for place in itertools.product(*map(range, sizes)):
        for offset in itertools.product(*map(range, kernel)):
            seen = [p + o - k // 2 for p, o, k in zip(place, offset, kernel, strict=True)]
            if all(0 <= s < size for s, size in zip(seen, sizes, strict=True)):
                values = inputs[(slice(None), slice(None), *seen)]
                result[(slice(None), slice(None), *place)] += values @ weight[(slice(None), slice(None), *offset)].T
    return result if bias is None else result + bias.view(-1, 1, 1, 1, 1)


CASES = [  # kernel, channels in and out, sizes, batch
    ((1, 1, 1, 1), 2, 3, (2, 3, 2, 2), 1),
    ((3, 3, 3, 3), 1, 4, (3, 4, 2, 3), 2),
    ((3, 3, 3, 3), 3, 3, (3, 2, 4, 3), 2),
    ((3, 3, 3, 3), 4, 1, (4, 3, 3, 2), 1),
    ((5, 5, 5, 5), 1, 2, (3, 3, 4, 4), 1),
    ((5, 5, 5, 5), 2, 1, (4, 4, 3, 3), 1),
    ((3, 3, 5, 5), 1, 3, (4, 3, 5, 4), 1),
    ((5, 5, 3, 3), 2, 2, (3, 4, 3, 3), 2),
    ((1, 3, 5, 3), 2, 2, (4, 3, 3, 4), 2),
    ((3, 1, 1, 5), 3, 1, (3, 3, 3, 4), 1),
    ((5, 3, 1, 1), 1, 3, (2, 2, 3, 3), 2),
    ((7, 1, 3, 1), 2, 2, (3, 2, 2, 2), 1),
]


@pytest.mark.parametrize(("kernel", "channels", "out", "sizes", "batch"), CASES)
@pytest.mark.parametrize("with_bias", [False, True])
def test_equals_the_definition(kernel, channels, out, sizes, batch, with_bias, monkeypatch):
    inputs = torch.randn(batch, channels, *sizes, dtype=torch.float64)
    weight = torch.randn(out, channels, *kernel, dtype=torch.float64)
    bias = torch.randn(out, dtype=torch.float64) if with_bias else None
    expected = by_definition(inputs, weight, bias)
    for size in BLOCKS:
        monkeypatch.setattr(conv4d_module, "_BYTES", size)
        torch.testing.assert_close(conv4d(inputs, weight, bias), expected, rtol=1e-12, atol=1e-12)
    single = conv4d(inputs.float(), weight.float(), None if bias is None else bias.float())
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-4)
    half = conv4d(inputs.bfloat16(), weight.bfloat16(), None if bias is None else bias.bfloat16())
    assert half.dtype == torch.bfloat16
    assert (half.double() - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize(("kernel", "channels", "out", "sizes", "batch"), CASES)
def test_gradients(kernel, channels, out, sizes, batch, monkeypatch):
    inputs = torch.randn(batch, channels, *sizes, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(out, channels, *kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(out, dtype=torch.float64, requires_grad=True)
    for size in BLOCKS:
        monkeypatch.setattr(conv4d_module, "_BYTES", size)
        assert torch.autograd.gradcheck(conv4d, (inputs, weight, bias), fast_mode=True)


def test_full_gradient_check_and_gradients_of_the_definition():
    inputs = torch.randn(1, 2, 2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 3, 1, 1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(conv4d, (inputs, weight))
    outer = torch.randn(1, 2, 2, 3, 2, 2, dtype=torch.float64)
    ours = torch.autograd.grad((conv4d(inputs, weight) * outer).sum(), (inputs, weight))
    theirs = torch.autograd.grad((by_definition(inputs, weight) * outer).sum(), (inputs, weight))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_the_cases_above_use_all_three_folds():
    folds = {_choose_fold(torch.empty(out, channels, *kernel)) for kernel, channels, out, _, _ in CASES}
    sides = {(max(fold.inputs) > 1, max(fold.outputs) > 1) for fold in folds}
    assert sides == {(False, False), (True, False), (False, True), (True, True)}


def test_views_that_are_not_contiguous():
    inputs = torch.randn(2, 3, 4, 2, 3, 2, dtype=torch.float64).permute(0, 1, 4, 5, 2, 3)
    weight = torch.randn(3, 3, 3, 1, 3, 3, dtype=torch.float64).transpose(0, 1)
    torch.testing.assert_close(conv4d(inputs, weight), by_definition(inputs, weight))


def test_half_precision_gradients_are_close_to_float32():
    inputs, weight = torch.randn(1, 4, 6, 6, 6, 6), torch.randn(4, 4, 3, 3, 3, 3)
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        values = [value.to(dtype).requires_grad_() for value in (inputs, weight)]
        gradients.append(torch.autograd.grad(conv4d(*values).square().sum(), values))
    for a, b in zip(*gradients, strict=True):
        assert b.dtype == torch.bfloat16
        assert (a - b.float()).norm() < 0.02 * a.norm()


def test_autocast_computes_forward_and_backward_in_its_dtype():
    layer, inputs = Conv4d(3, 2, (3, 3, 3, 3)), torch.randn(1, 3, 4, 4, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(inputs)
    assert half.dtype == torch.bfloat16
    half.float().square().sum().backward()
    gradient = layer.weight.grad
    assert gradient.dtype == torch.float32
    layer.weight.grad = None
    layer(inputs).square().sum().backward()
    assert (gradient - layer.weight.grad).norm() < 0.02 * gradient.norm()


def test_backward_saves_only_the_input():
    """Only the input is saved for the backward pass, nothing of size kernel × input."""
    saved = []
    inputs = torch.randn(1, 2, 6, 6, 6, 6, requires_grad=True)
    layer = Conv4d(2, 2, (3, 3, 3, 3))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        layer(inputs)
    assert sum(saved) <= inputs.numel() + sum(p.numel() for p in layer.parameters())


@pytest.mark.parametrize(
    ("inputs", "weight", "bias", "message"),
    [
        ((1, 2, 3, 3, 3, 3), (1, 3, 3, 3, 3, 3), None, "same C"),
        ((2, 3, 3, 3, 3), (1, 3, 3, 3, 3, 3), None, "got"),
        ((1, 2, 3, 3, 3, 3), (1, 2, 3, 2, 3, 3), None, "odd"),
        ((1, 2, 3, 3, 3, 3), (1, 2, 3, 3, 3, 3), (2,), r"bias must have shape \(1,\)"),
    ],
)
def test_wrong_shapes_are_refused(inputs, weight, bias, message):
    with pytest.raises(ValueError, match=message):
        conv4d(torch.zeros(inputs), torch.zeros(weight), None if bias is None else torch.zeros(bias))


def test_wrong_dtypes_and_layers_are_refused():
    with pytest.raises(ValueError, match=r"torch\.float32"):
        conv4d(torch.zeros(1, 1, 2, 2, 2, 2), torch.zeros(1, 1, 1, 1, 1, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="odd"):
        Conv4d(1, 1, (3, 3, 2, 3))
