"""Settings of other people's experiments, to reproduce their published numbers.

The settings follow the authors' code, which each docstring cites.
"""

from __future__ import annotations

from trainables.optimizers import GNP, SAM, SGD
from trainables.setting import Setting


def dohare_2024() -> tuple[Setting, ...]:
    """Return online permuted MNIST of Dohare et al. 2024 (Nature 632), and SAM and GNP.

    The first setting is the network of width 100 in Extended Data Figure 3b. The
    authors' code (shibhansh/loss-of-plasticity@63c35f3) has these values:

        SGD, step size 0.003, 3 x 100 units    lop/permuted_mnist/cfg/bp/width.json
        60,000 examples a task, batch size 1   lop/permuted_mnist/online_expr.py:31-35
        new pixel order and example order      lop/permuted_mnist/online_expr.py:136-139
        pixels in [0, 1]                       lop/permuted_mnist/load_mnist.py:10
        Kaiming-uniform weights, zero biases   lop/nets/deep_ffnn.py:27-28

    They measure the online accuracy: each prediction is made before the update on that
    example. Our column `online_accuracy` is the same. Their permutations of successive
    tasks are composed, and ours are not. Both are uniform and independent.

    The authors have no sharpness-aware optimizers. SAM and GNP use their usual alpha
    and a smaller rho than usual, because with batch size 1 and rho 0.1, SAM makes most
    units of this network dormant.
    """
    optimizers = (
        SGD(lr=0.003),
        SAM(lr=0.003, rho=0.02),
        GNP(lr=0.003, rho=0.02, alpha=0.8),
    )
    return tuple(
        Setting(optimizer=optimizer, dataset="mnist", tasks=101, batch_size=1)
        for optimizer in optimizers
    )
