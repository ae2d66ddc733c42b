"""Convolutions of several networks at once, as matrix products.

torch would compute the convolutions of S networks as one grouped convolution, whose
algorithm, and thus rounding, depends on S. Here, the numbers that a unit reads at a
position are copied to a row of a matrix. One batched matrix product then gives the
outputs of all networks, and the rounding of a seed's numbers does not depend on the
other seeds. The product works in every dtype, and can be differentiated twice.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, baddbmm, bmm
from torch.nn import functional


def convolve(
    images: Float[Tensor, "S n height width channels"],
    weights: Float[Tensor, "S inputs units"],
    biases: Float[Tensor, "S 1 units"] | None,
    kernel: tuple[int, int],
) -> Float[Tensor, "S n rows columns units"]:
    """Return each unit's output at each position, without padding.

    `kernel` is the height and the width of the kernels. A kernel reads height x width x
    channels numbers of an image, ordered by row, then by column, then by channel. If
    `biases` is None, no bias is added.
    """
    patches = images.unfold(2, kernel[0], 1).unfold(3, kernel[1], 1)
    seeds, n, rows, columns = patches.shape[:4]
    read = patches.permute(0, 1, 2, 3, 5, 6, 4).reshape(seeds, n * rows * columns, -1)
    z = bmm(read, weights) if biases is None else baddbmm(biases, read, weights)
    return z.view(seeds, n, rows, columns, -1)


def pool(
    images: Float[Tensor, "S n height width channels"],
) -> Float[Tensor, "S n rows columns channels"]:
    """Return the maximum of each channel in each square of 2 x 2 pixels.

    If the height or width is odd, the last row or column is left out. But an image that
    is one pixel high or wide keeps its height or width.
    """
    seeds, n, height, width, channels = images.shape
    flat = images.reshape(seeds * n, height, width, channels).permute(0, 3, 1, 2)
    largest = functional.max_pool2d(flat, (min(2, height), min(2, width)))
    return largest.permute(0, 2, 3, 1).reshape(seeds, n, *largest.shape[2:], channels)
