"""Fresh: reset the whole network to its initial weights before every task.

Fresh is meant as an upper bound for other interventions. Before every task, the network
gets the initial weights of its seed, and the optimizer's moments become 0. The network
thus starts every task as it started the first task.

On each seed and task, another setting can be compared with Fresh. Both networks started
with the same initial weights. Only what the other network learned in earlier tasks can
therefore cause a difference. On the first task, Fresh changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.interventions.intervention import Intervention

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor

    from trainables.network import Network
    from trainables.stack import Stack


@attrs.frozen(kw_only=True)
class Fresh(Intervention):
    """Resets the network before every task except the first.

    The weights become the initial weights, and the optimizer's moments become 0.
    """

    name: ClassVar[str] = "fresh"

    def begin_task(self, stack: Stack) -> None:
        """Reset the weights to the initial weights, and the memory to 0."""
        from trainables.network import initial_network

        weights = stack.network.weights
        first = initial_network(
            [w.shape[1] for w in weights] + [weights[-1].shape[2]],
            stack.seeds,
            weights[0].device,
            weights[0].dtype,
            initialization=stack.network.initialization,
        )
        for tensor, start in zip(stack.network.tensors(), first.tensors(), strict=True):
            tensor.copy_(start)
        stack.memory.forget()


def draw_initial(network: Network, random: Generator) -> list[Tensor]:
    """Draw initial weights and biases of one network that is shaped like `network`.

    The result is in the order of `Network.tensors`, without the axis of the seeds. The
    distribution is that of `initial_network`.
    """
    from trainables.network import initial_bound

    last, kind = network.weights[-1], network.initialization
    bounds = [
        initial_bound(w.shape[1], output=w is last, initialization=kind)
        for w in network.weights
    ]

    def draw(tensors: list[Tensor]) -> list[Tensor]:
        pairs = zip(tensors, bounds, strict=True)
        return [t.new_tensor(random.uniform(-b, b, t.shape[1:])) for t, b in pairs]

    weights = draw(network.weights)
    if kind is None:
        return weights + [b.new_zeros(b.shape[1:]) for b in network.biases]
    return weights + draw(network.biases)
