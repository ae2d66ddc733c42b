"""Actor and critic: two multilayer perceptrons that read the same observation.

The actor gives the logits of the actions, and the critic gives the value of the
observation. They share no weights, but they are one `Network`, because one loss depends
on the weights of both. So optimizers, bases and penalties act on all these weights, and
SAM's ascent step moves all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs

from trainables.networks.architecture import Architecture, Layer, dense_layers

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.networks.network import Network
    from trainables.problems import Form


@attrs.frozen(kw_only=True)
class ActorCritic(Architecture):
    """The layers of the actor, then the layers of the critic.

    A setting cannot choose this architecture. PPO always uses it, and only PPO.
    """

    name: ClassVar[str] = "actor_critic"
    hidden: ClassVar[tuple[int, ...]] = (100, 100, 100)
    heads: ClassVar[int] = 2

    def layers(self, form: Form, dense: Sequence[int], outputs: int = 1) -> list[Layer]:
        """Return the sizes of the actor's layers, then of the critic's.

        The last number of `dense` is the number of actions.
        """
        value = [*dense[:-1], 1]
        return [
            *dense_layers(form.pixels, dense, outputs),
            *dense_layers(form.pixels, value, outputs),
        ]

    def forward(self, network: Network, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the observations, the outputs of each hidden layer, and the outputs.

        The hidden layers of the actor are first. The outputs have the shape
        (S, n, actions + 1): the logits of the actions, then the value.
        """
        import torch

        from trainables.networks.network import dense_forward

        actor_hidden, logits = dense_forward(actor(network), inputs)
        critic_hidden, value = dense_forward(critic(network), inputs)
        hidden = [inputs, *actor_hidden, *critic_hidden]
        return hidden, torch.cat([logits, value], dim=-1)


def actor(network: Network) -> Network:
    """Return the actor of a network, with the same tensors (no copy)."""
    return _part(network, slice(None, len(network.weights) // 2))


def critic(network: Network) -> Network:
    """Return the critic of a network, with the same tensors (no copy)."""
    return _part(network, slice(len(network.weights) // 2, None))


def _part(network: Network, layers: slice) -> Network:
    from trainables.networks.network import Network

    tensors = network.weights[layers], network.biases[layers]
    return Network(*tensors, network.normalized, network.activation)
