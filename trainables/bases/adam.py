"""Adam: adaptive moment estimation (Kingma & Ba 2014, arXiv 1412.6980, Alg. 1).

    m <- beta1 m + (1 - beta1) g,   v <- beta2 v + (1 - beta2) g^2
    w <- w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

g is the gradient of the optimizer plus weight decay times w, as in torch.optim.Adam.
The gradient of SAM, for example, is the gradient at the perturbed weights.

t is the number of updates of the run. An intervention can count the updates since each
hidden unit was created (`Memory.marks["age"]`). Then t is the age of the weight, as in
shibhansh/loss-of-plasticity@63c35f3, lop/utils/AdamGnT.py:71-106. A weight joins two
units, and is as old as the younger one. The inputs and outputs of the network are as
old as the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.hyperparameter import real

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.network import Network
    from trainables.networks.stack import Memory


@attrs.frozen(kw_only=True)
class Adam:
    """Divides the step of each weight by the recent size of the weight's gradient."""

    name: ClassVar[str] = "adam"
    beta1: float = real(
        0.9, 0, 1, exclude_high=True, meaning="Adam: decay rate of the first moment"
    )
    beta2: float = real(
        0.999, 0, 1, exclude_high=True, meaning="Adam: decay rate of the second moment"
    )
    adam_eps: float = real(
        1e-8,
        exclude_low=True,
        meaning="Adam: added to the square root of the second moment",
    )

    def begin(self, network: Network, memory: Memory) -> None:
        """Add two moments and the number of updates to `memory`, all of them 0."""
        memory.moments["first"] = network.zeros_like()
        memory.moments["second"] = network.zeros_like()
        # Use float64, because 1 - beta2^t would lose digits in float32. Use one count
        # per seed, because the tasks of two seeds can have different lengths.
        counts = network.weights[0].new_zeros(network.seeds)
        memory.marks["updates"] = counts.double()

    def descend(
        self,
        network: Network,
        memory: Memory,
        gradient: Network,
        lr: float | Tensor,
        *,
        fused: bool = False,
    ) -> None:
        """Take one step of Adam: update the networks and the memory in place.

        `lr` is a number, or a tensor with one number for each seed, (S, 1, 1). With
        `fused`, torch makes the step in one pass over memory where it can, which takes
        a fifth of the time. All seeds must then have made equally many updates.
        """
        if fused and isinstance(lr, float) and "age" not in memory.marks:
            self._descend_fused(network, memory, gradient, lr)
            return
        first, second = memory.moments["first"], memory.moments["second"]
        networks = (network, gradient, first, second)
        tensors = zip(*(n.tensors() for n in networks), strict=True)
        corrections = self._corrections(network, memory, lr)
        for (w, g, m, v), (step_size, root) in zip(tensors, corrections, strict=True):
            m.lerp_(g, 1 - self.beta1)
            v.mul_(self.beta2).addcmul_(g, g, value=1 - self.beta2)
            size = v.sqrt().div_(root).add_(self.adam_eps)
            w.sub_((m / size).mul_(step_size))

    def _descend_fused(
        self, network: Network, memory: Memory, gradient: Network, lr: float
    ) -> None:
        """Make one step of Adam with the kernel of `torch.optim.Adam(fused=True)`."""
        from torch.optim.adam import adam

        networks = network, gradient, memory.moments["first"], memory.moments["second"]
        # the kernel needs tensors that are contiguous: see `Network`
        weights, gradients, first, second = (
            [tensor.mT for tensor in n.tensors()] for n in networks
        )
        # autograd's gradient of the biases can be a part of another tensor
        gradients = [tensor.contiguous() for tensor in gradients]
        updates = memory.marks["updates"]
        adam(
            weights,
            gradients,
            first,
            second,
            max_exp_avg_sqs=[],
            state_steps=[updates[0].float() for _ in weights],
            fused=True,
            amsgrad=False,
            beta1=self.beta1,
            beta2=self.beta2,
            lr=lr,
            weight_decay=0.0,
            eps=self.adam_eps,
            maximize=False,
        )
        updates.add_(1)

    def _corrections(
        self, network: Network, memory: Memory, lr: float | Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """Count the update; return lr / (1 - beta1^t) and sqrt(1 - beta2^t).

        There is one pair for each tensor, in the order of `Network.tensors`.
        """
        import torch

        marks, dtype = memory.marks, network.weights[0].dtype

        def correct(count: Tensor) -> tuple[Tensor, Tensor]:
            step_size = (lr / (1 - self.beta1**count)).to(dtype)
            return step_size, (1 - self.beta2**count).sqrt().to(dtype)

        of_run = correct(marks["updates"].add_(1)[:, None, None])
        if "age" not in marks:
            return [of_run] * len(network.tensors())
        widths = [b.shape[2] for b in network.biases[:-1]]
        ages = correct(marks["age"][:, None].double() + 1)  # + 1 for this update
        steps, roots = (torch.split(x, widths, dim=2) for x in ages)
        units = list(zip(steps, roots, strict=True))
        before, after = [of_run, *units], [*units, of_run]
        # use the younger unit, whose step size is larger and whose root is smaller
        weights = [
            (torch.maximum(step.mT, own_step), torch.minimum(root.mT, own_root))
            for (step, root), (own_step, own_root) in zip(before, after, strict=True)
        ]
        for layer, w in enumerate(network.weights[1:], start=1):
            # a kernel, or a dense layer after a convolution, reads a unit several times
            step, root = weights[layer]
            if (positions := w.shape[1] // step.shape[1]) > 1:
                tiles = (1, positions, 1)
                weights[layer] = (step.tile(tiles), root.tile(tiles))
        return weights + after
