"""Convolutions of several networks against torch's own, network by network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from trainables.networks.convolution import convolve, pool


def drawn(*shape: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=random, dtype=torch.float64)


@pytest.mark.parametrize(
    ("size", "channels", "kernel"),
    [
        ((6, 5), 2, (3, 3)),
        ((1, 9), 1, (1, 5)),
        ((4, 4), 3, (4, 4)),
        ((5, 7), 2, (2, 3)),
    ],
)
def test_a_convolution_is_torchs_own(size, channels, kernel):
    x, b = drawn(3, 2, *size, channels), drawn(3, 1, 4)
    w = drawn(3, kernel[0] * kernel[1] * channels, 4)
    for biases in (b, None):
        got = convolve(x, w, biases, kernel)
        for seed in range(3):
            kernels = w[seed].T.reshape(4, *kernel, channels).permute(0, 3, 1, 2)
            expected = F.conv2d(
                x[seed].permute(0, 3, 1, 2),
                kernels,
                None if biases is None else biases[seed, 0],
            ).permute(0, 2, 3, 1)
            torch.testing.assert_close(got[seed], expected, rtol=1e-12, atol=1e-12)


def test_a_kernel_with_a_single_one_shifts_the_image():
    x, w = drawn(1, 1, 4, 5, 2), torch.zeros(1, 3 * 3 * 2, 1, dtype=torch.float64)
    w[0, (1 * 3 + 2) * 2 + 1] = 1  # row 1, column 2, channel 1
    torch.testing.assert_close(
        convolve(x, w, None, (3, 3))[..., 0], x[:, :, 1:3, 2:5, 1], rtol=0, atol=0
    )


def test_the_gradient_of_a_convolution_can_be_differentiated():
    inputs = drawn(2, 2, 4, 3, 1), drawn(2, 4, 2), drawn(2, 1, 2)
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda x, w, b: pool(convolve(x, w, b, (2, 2)).tanh()), inputs
    )


def test_a_pool_keeps_the_largest_number_of_each_square():
    x = torch.arange(15.0).reshape(1, 1, 3, 5, 1)
    assert pool(x).flatten().tolist() == [6, 8]  # the last row and column are left out
    assert pool(x[:, :, :1]).flatten().tolist() == [1, 3]
    assert pool(x[:, :, :, :1]).flatten().tolist() == [5]
