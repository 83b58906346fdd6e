"""A small Mask R-CNN (He et al., ICCV 2017): torchvision's detector over a backbone of a few million parameters.

The backbone is a residual network (He et al., CVPR 2016) of basic blocks with group normalisation (Wu and He, ECCV
2018), which needs no statistics of a batch and so trains on few windows at a time; a feature pyramid (Lin et al., CVPR
2017) of strides 4 to 32 lies over it. Windows are seen at their own size: torchvision's rescaling is an identity.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportArgumentType=false
# torchvision ships without type information.

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.compact_options import GROUP, CompactShape, compact_parameters
from segworkers.segmenters.families import weights_path
from segworkers.segmenters.maskrcnn_options import MaskRcnnSettings
from segworkers.segmenters.torch_maskrcnn import MaskRcnnSegmenter
from segworkers.segmenters.torch_state import read_state

_LEVELS = ("0", "1", "2", "3")


def load(manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path, device: str) -> MaskRcnnSegmenter:
    """A bundle's model, as `segworkers.segmenters.families` asks. Raises SpecError where the weights do not fit."""
    shape, settings = compact_parameters(manifest, parameters)
    path = weights_path(weights, parameters)
    size = (manifest.window[1], manifest.window[2])
    network = compact_network(shape, len(manifest.classes), size, **inference_choices(settings))
    try:
        # half-precision weights are stored, float32 is what they are used in
        network.load_state_dict({name: value.float() for name, value in read_state(path).items()})
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise SpecError(f"{manifest.name}: the weights do not fit its shape: {' '.join(lines)[:500]}") from error
    return MaskRcnnSegmenter(network.eval().to(device), settings, manifest, manifest.classes)


def compact_segmenter(network: MaskRCNN, manifest: ModelManifest, parameters: Mapping[str, Any]) -> MaskRcnnSegmenter:
    """The network behind the Segmenter port, which from then on makes the choices of the parameters.

    network: in evaluation mode, on its device; set to the window's size.
    """
    _, settings = compact_parameters(manifest, parameters)
    heads, rpn = cast(Any, network.roi_heads), cast(Any, network.rpn)
    heads.score_thresh, heads.nms_thresh = settings.score_threshold, settings.box_nms
    heads.detections_per_img = settings.detections_per_image
    for top in (getattr(rpn, "_pre_nms_top_n"), getattr(rpn, "_post_nms_top_n")):  # noqa: B009 (torchvision's own)
        top["testing"] = settings.proposals_per_image
    return MaskRcnnSegmenter(network, settings, manifest, manifest.classes)


def inference_choices(settings: MaskRcnnSettings) -> dict[str, Any]:
    """torchvision's names of the choices made when the network runs."""
    return {
        "box_score_thresh": settings.score_threshold,
        "box_nms_thresh": settings.box_nms,
        "box_detections_per_img": settings.detections_per_image,
        "rpn_pre_nms_top_n_test": settings.proposals_per_image,
        "rpn_post_nms_top_n_test": settings.proposals_per_image,
    }


def compact_network(shape: CompactShape, classes: int, window: tuple[int, int], **choices: Any) -> MaskRCNN:
    """The network with fresh weights, on the CPU.

    classes: without background. window: (y, x) of what it will be shown. choices: further arguments of torchvision's
    MaskRCNN, such as `box_score_thresh`.
    """
    features, outputs = shape.features, classes + 1
    return MaskRCNN(
        CompactBackbone(shape),
        rpn_anchor_generator=AnchorGenerator(
            tuple((side,) for side in shape.anchors), ((0.5, 1.0, 2.0),) * len(shape.anchors)
        ),
        box_roi_pool=MultiScaleRoIAlign(list(_LEVELS), output_size=7, sampling_ratio=2),
        box_head=TwoMLPHead(features * 49, shape.hidden),
        box_predictor=FastRCNNPredictor(shape.hidden, outputs),
        mask_roi_pool=MultiScaleRoIAlign(list(_LEVELS), output_size=14, sampling_ratio=2),
        mask_head=MaskRCNNHeads(features, (features,) * shape.mask_layers, 1),
        mask_predictor=MaskRCNNPredictor(features, features, outputs),
        min_size=min(window),
        max_size=max(window),
        # what is not valid is shown as the mean, so 0: as dark as what lies beyond an image's edge in training
        image_mean=[0.0] * shape.bands,
        image_std=[0.5] * shape.bands,
        **choices,
    )


class CompactBackbone(nn.Module):
    """(n, bands, y, x) to four maps of `features` channels at strides 4, 8, 16 and 32, named "0" to "3"."""

    def __init__(self, shape: CompactShape) -> None:
        super().__init__()
        stem, *widths = shape.widths
        self.out_channels = shape.features
        """What torchvision asks a backbone for."""
        self.stem = nn.Sequential(_convolution(shape.bands, stem, stride=2), nn.ReLU(inplace=True))
        stages: list[nn.Module] = []
        inputs = stem
        for width, count in zip(widths, shape.blocks, strict=True):
            blocks = [_Block(inputs, width, stride=2), *(_Block(width, width) for _ in range(count - 1))]
            stages.append(nn.Sequential(*blocks))
            inputs = width
        self.stages = nn.ModuleList(stages)
        self.pyramid = FeaturePyramidNetwork(widths, shape.features, norm_layer=_norm)

    def forward(self, x: Tensor) -> Mapping[str, Tensor]:
        """The pyramid, finest level first."""
        x = self.stem(x)
        levels: OrderedDict[str, Tensor] = OrderedDict()
        for name, stage in zip(_LEVELS, self.stages, strict=True):
            levels[name] = x = stage(x)
        return self.pyramid(levels)


class _Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, stride=stride)
        self.second = _convolution(outputs, outputs)
        self.around = nn.Identity() if stride == 1 and inputs == outputs else _convolution(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(functional.relu(self.first(x), inplace=True))
        return functional.relu(y + self.around(x), inplace=True)


def _convolution(inputs: int, outputs: int, side: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, _norm(outputs))


def _norm(features: int) -> nn.GroupNorm:
    return nn.GroupNorm(features // GROUP, features)
