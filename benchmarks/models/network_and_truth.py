"""The cost of a real network with the answers of a perfect one, for `benchmarks.merge_share`; loaded by path."""

from __future__ import annotations

from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from torchvision.models.detection import maskrcnn_resnet50_fpn

from segworkers.segmenters.maskrcnn_options import maskrcnn_manifest, maskrcnn_settings
from segworkers.segmenters.torch_maskrcnn import MaskRcnnSegmenter

DETECTIONS = 120
"""Masks that the network computes for a window, at most."""


class NetworkAndTruth:
    """Mask R-CNN (ResNet-50-FPN) sees every window, then every patch of one value above 0 is said to be an object."""

    kind = "instance"
    classes = ("object",)
    window = (1, 1024, 1024)
    overlap = (0, 128, 128)

    detections = 0
    """Masks that networks have computed in this process."""

    def __init__(self, device: str) -> None:
        options = {"window": self.window[1:], "overlap": self.overlap[1:], "detections_per_image": DETECTIONS}
        settings = maskrcnn_settings(
            {"classes": list(self.classes), "score_threshold": 0.0, "proposals_per_image": 1000}
            | {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
        )
        network = maskrcnn_resnet50_fpn(
            weights=None,
            weights_backbone=None,
            num_classes=len(self.classes) + 1,
            min_size=self.window[1],
            max_size=self.window[1],
            box_score_thresh=0.0,
            box_detections_per_img=DETECTIONS,
        )
        manifest = maskrcnn_manifest(settings, "network", self.classes)
        self._network = MaskRcnnSegmenter(network.eval().to(device), settings, manifest, self.classes)

    def predict(self, windows: NDArray[Any], valid: NDArray[np.bool_]) -> list[tuple[Any, ...]]:
        """The truth of each window, after the network has had its say."""
        unit = windows.astype(np.float32) / 255
        NetworkAndTruth.detections += sum(len(said.labels) for said in self._network.predict(unit, valid))
        return [self._truth(window[0, 0] * real[0]) for window, real in zip(windows, valid, strict=True)]

    def _truth(self, values: NDArray[Any]) -> tuple[Any, ...]:
        labels = cc3d.connected_components(values, connectivity=4)
        crops = [
            ([0, y.start, x.start, 1, y.stop, x.stop], (labels[y, x] == number)[None])
            for number, (y, x) in enumerate(find_objects(labels), start=1)
        ]
        return np.zeros(len(crops), np.int64), np.ones(len(crops)), crops
