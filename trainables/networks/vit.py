"""A small vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929).

An image is cut into squares with a side of vit_patch pixels. A product with weights
turns each square into a token of vit_dim numbers. A learned class token is put before
these tokens. To each token, learned numbers of its position are added. Then come
vit_depth blocks:

    x <- x + attention(norm(x)),   x <- x + W2 gelu(W1 norm(x) + b1) + b2

W1 has four times as many units as a token has numbers. The logits are computed from
norm(class token). This is the network of google-research/vision_transformer@c6de1e5
(vit_jax/models_vit.py:66-156, 190-208, 263-298), but without dropout, and with the
exact GELU of lucidrains/vit-pytorch@69d24fe (vit_pytorch/vit.py:15-83). vit-pytorch
also normalizes the squares, which is not done here. The numbers of the positions are
drawn with standard deviation 0.02, as in Google's code (line 192), but from a uniform
distribution. The other weights are drawn as in other networks. The default sizes are
smaller than in the paper: images of 32 x 32 have 64 squares.

norm is layer normalization. It is a layer of its own in the `Network`, and its weights
are one row of gains. The positions are a layer too: its weights have one row per token,
and its bias is the class token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import whole
from trainables.networks.architecture import Architecture, Layer, dense_layers
from trainables.usage import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.network import Network
    from trainables.problems import Form

POSITION_BOUND = 0.02 * math.sqrt(3)
"""Uniform numbers in [-b, b] with this b have the standard deviation 0.02."""

BLOCK_LAYERS = 6
"""The layers of a block: norm, queries with keys and values, output of the attention,
norm, W1 and W2."""


@attrs.frozen(kw_only=True)
class ViT(Architecture):
    """Tokens of square patches, and blocks of attention and of two dense layers."""

    name: ClassVar[str] = "vit"
    is_plain: ClassVar[bool] = False
    hidden: ClassVar[tuple[int, ...]] = ()
    vit_patch: int = whole(4, unit="pixels", meaning="ViT: side of a patch")
    vit_dim: int = whole(
        192, unit="numbers", meaning="ViT: size of a token; a multiple of vit_heads"
    )
    vit_depth: int = whole(6, unit="blocks", meaning="ViT: number of blocks")
    vit_heads: int = whole(3, unit="heads", meaning="ViT: attention heads of a block")

    def __attrs_post_init__(self) -> None:
        if self.vit_dim % self.vit_heads:
            raise UsageError(
                f"vit_dim is {self.vit_dim}: use a multiple of vit_heads, which is "
                f"{self.vit_heads}"
            )

    @property
    def front(self) -> int:
        """The number of layers before the head."""
        return 3 + BLOCK_LAYERS * self.vit_depth

    def check(self, form: Form) -> None:
        """Check that whole patches fill an image.

        A patch that is higher or wider than the image is cut to the image's size.
        """
        for side in (form.height, form.width):
            if side % min(side, self.vit_patch):
                raise UsageError(
                    f"vit_patch is {self.vit_patch}, but images have a side of {side} "
                    f"pixels: use a number that divides {side}"
                )

    def patch(self, form: Form) -> tuple[int, int]:
        """Return the height and width of a patch."""
        return min(self.vit_patch, form.height), min(self.vit_patch, form.width)

    def tokens(self, form: Form) -> int:
        """Return the number of tokens, including the class token."""
        rows, columns = self.patch(form)
        return 1 + (form.height // rows) * (form.width // columns)

    def layers(self, form: Form, dense: Sequence[int], outputs: int = 1) -> list[Layer]:
        """Return the sizes of all layers."""
        d, tokens = self.vit_dim, self.tokens(form)
        norm = Layer(1, d, tokens, gain=True)
        block = [
            norm,
            Layer(d, 3 * d, tokens, stored=2 * self.vit_heads * tokens**2),
            Layer(d, d, tokens),
            norm,
            Layer(d, 4 * d, tokens),
            Layer(4 * d, d, tokens),
        ]
        return [
            Layer(math.prod(self.patch(form)) * form.channels, d, tokens - 1),
            Layer(tokens, d, bound=POSITION_BOUND),
            *block * self.vit_depth,
            Layer(1, d, gain=True),
            *dense_layers(d, dense, outputs),
        ]

    def forward(self, network: Network, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the images, the outputs of each hidden layer, and the logits.

        The hidden layers are the outputs of each GELU at all tokens, and then the
        normalized class token.
        """
        import torch
        from torch.nn import functional

        from trainables.networks.network import dense_forward

        weights, biases = network.weights, network.biases
        seeds, n = inputs.shape[:2]
        tokens = self.tokens(network.form)

        def dense(i: int, x: Tensor) -> Tensor:
            return torch.baddbmm(biases[i], x, weights[i])

        def norm(i: int, x: Tensor) -> Tensor:
            return functional.layer_norm(x, x.shape[-1:]) * weights[i] + biases[i]

        x = dense(0, self._patches(network.form, inputs)).view(seeds, n, tokens - 1, -1)
        first = biases[1][:, :, None].expand(seeds, n, 1, -1)
        x = (torch.cat([first, x], dim=2) + weights[1][:, None]).flatten(1, 2)
        hidden = [inputs]
        for i in range(2, self.front - 1, BLOCK_LAYERS):
            read = dense(i + 1, norm(i, x)).view(seeds * n, tokens, -1)
            attended = self._attend(read).reshape(seeds, n * tokens, -1)
            x = x + dense(i + 2, attended)
            hidden.append(functional.gelu(dense(i + 4, norm(i + 3, x))))
            x = x + dense(i + 5, hidden[-1])
        class_tokens = x.view(seeds, n, tokens, -1)[:, :, 0]
        hidden.append(norm(self.front - 1, class_tokens))
        outputs, logits = dense_forward(network, hidden[-1], self.front)
        return [*hidden, *outputs], logits

    def _patches(self, form: Form, inputs: Tensor) -> Tensor:
        """Return the patches of all images, of shape (S, n x patches, numbers)."""
        rows, columns = self.patch(form)
        shape = (form.height // rows, rows, form.width // columns, columns)
        cut = inputs.reshape(*inputs.shape[:2], *shape, form.channels)
        patches = cut.permute(0, 1, 2, 4, 3, 5, 6)
        numbers = rows * columns * form.channels
        return patches.reshape(inputs.shape[0], -1, numbers)

    def _attend(self, read: Tensor) -> Tensor:
        """Return the outputs of all heads, of shape (images, tokens, vit_dim).

        `read` has the queries, the keys and the values: (images, tokens, 3 vit_dim).
        """
        images, tokens, _ = read.shape
        parts = read.view(images, tokens, 3, self.vit_heads, -1).permute(2, 0, 3, 1, 4)
        queries, keys, values = parts.unbind()  # (images, heads, tokens, numbers)
        scale = queries.shape[-1] ** -0.5
        shares = (queries @ keys.mT * scale).softmax(-1)
        together: Tensor = (shares @ values).transpose(1, 2)
        return together.reshape(images, tokens, -1)
