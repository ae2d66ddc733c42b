"""The networks of several seeds: their architectures, layers and initial weights.

To add an architecture, write it in a new file and import it here. Then add it to
`NETWORKS` and `__all__`.
"""

from trainables.networks.actor_critic import ActorCritic
from trainables.networks.architecture import Architecture
from trainables.networks.conv import Conv
from trainables.networks.mlp import MLP
from trainables.networks.resnet import ResNet18
from trainables.networks.vit import ViT

NETWORKS: dict[str, type[Architecture]] = {
    "mlp": MLP,
    "conv": Conv,
    "resnet18": ResNet18,
    "vit": ViT,
}

__all__ = ["MLP", "NETWORKS", "ActorCritic", "Architecture", "Conv", "ResNet18", "ViT"]
