"""What a family of networks adds to the training loop: the TrainingFamily port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from segworkers.segmenters.base import WindowMasks
from segworkers.training.samples import Crop


class TrainingFamily(Protocol):
    """One kind of network: how it is built, what it learns from a crop and what it says of an image.

    `segworkers.training.loop.train` calls the methods; it seeds torch before `build`, so first weights are repeatable.
    """

    def build(self) -> nn.Module:
        """A new network with random or pretrained weights, on the CPU."""
        ...

    def targets(self, crop: Crop) -> Any:
        """What one crop teaches, as NumPy arrays; a pure function, called in worker threads."""
        ...

    def loss(
        self, network: nn.Module, crops: Sequence[Crop], targets: Sequence[Any], device: str
    ) -> Mapping[str, Tensor]:
        """Named parts of the loss of a batch, scalars on the device; the loop minimises their sum.

        network: in training mode, on `device`; called under autocast where the loop uses bfloat16.
        targets: one for each crop, as `targets` gave them.
        """
        ...

    def predict(self, network: nn.Module, image: NDArray[np.float32], device: str) -> WindowMasks:
        """What the network says of a whole image (bands, y, x) of any size; used for validation.

        network: in evaluation mode, on `device`; called under inference mode.
        """
        ...
