"""Models of our own families as bundles of foreign networks: ONNX, TorchScript or torch.export with a declared head.

What is exported is the network with what surrounds it, up to the decoding of its outputs, which stays ours: the bundle
gives the instances of the native one as far as both runtimes round alike. The file is compared with the network on
noise before the bundle is written.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.jit and torch.onnx are partly untyped, onnxscript is an optional extra.

from __future__ import annotations

import dataclasses
import warnings
import zipfile
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from schemas.bundles import ModelBundle
from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.bundle_models import channels_of, parameters_of
from segworkers.segmenters.bundle_weights import weights_folder
from segworkers.segmenters.bundles import open_bundle, weights_file, write_bundle
from segworkers.segmenters.families import family_of, plan_family
from segworkers.segmenters.new_bundles import new_folder, require_new
from segworkers.segmenters.torch_exported import TorchNetwork, read_exported, read_torchscript

if TYPE_CHECKING:
    from collections.abc import Generator

    from segworkers.segmenters.foreign import Network

Target = Literal["onnx", "torchscript", "torch-export"]
TARGETS: Mapping[Target, str] = {"onnx": "model.onnx", "torchscript": "model.pt", "torch-export": "model.pt2"}
"""What can be exported to, and the file's name in the bundle."""

_TOLERANCE = 1e-3
"""Of the largest value, on noise: other kernels round otherwise, and that adds up over layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exportable:
    """A network that takes windows (n, channels, y, x) or (n, channels, z, y, x) and gives tensors for a head."""

    network: nn.Module
    """In evaluation mode, on the CPU."""
    channels: int
    outputs: tuple[str, ...]
    """Roles of the head, in the order of the network's outputs."""
    head: Mapping[str, Any]
    input: Mapping[str, Any]
    detector: bool = False
    """Whether it takes a list of images and names its outputs, as torchvision's detectors do: TorchScript only."""


def export_bundle(reference: str, target: Target, folder: Path) -> ModelBundle:
    """Write a bundle of the family `target` into `folder` that answers as the bundle `reference` does.

    Raises SpecError where the family cannot be exported, the folder is not empty, or the file does not say the same;
    nothing is written then.
    """
    source = open_bundle(reference)
    given = source.definition
    if given.family not in EXPORTERS:
        raise SpecError(
            f"{reference}: models of the family {given.family!r} cannot be exported, {_those_that_can()} can"
        )
    require_new(folder)
    parameters = parameters_of(given, family_of(given.family, reference), {})
    what = EXPORTERS[given.family](given.manifest, parameters, weights_folder(source))
    if what.detector and target != "torchscript":
        raise SpecError(f"{reference}: models of the family {given.family!r} can be exported to torchscript only")
    example = _noise(what, given.manifest)
    with new_folder(folder) as scratch:
        path = scratch / TARGETS[target]
        _WRITERS[target](what, example, path)
        _require_same(what, example, _reread(target, path, as_list=what.detector))
        bundle = _described(given, target, what, scratch)
        plan_family(bundle.family, bundle.manifest, bundle.parameters, str(folder))
        write_bundle(bundle, scratch)
    return bundle


def _described(given: ModelBundle, target: Target, what: Exportable, folder: Path) -> ModelBundle:
    """The new bundle, of the file that lies in `folder`."""
    name = f"{given.name}-{target}"[:64]
    limits = (
        f"{given.card.limits} Exported from the family {given.family}: windows have a fixed size, and other runtimes "
        "round otherwise."
    )
    return ModelBundle(
        name=name,
        family=target,
        # A file does not say it, and who plans a run does not open it.
        manifest=replace(given.manifest, name=name, channels=channels_of(given)),
        card=replace(given.card, limits=limits),
        weights=(weights_file(folder, TARGETS[target]),),
        parameters={
            "file": TARGETS[target],
            "head": dict(what.head),
            "outputs": {role: role if what.detector else index for index, role in enumerate(what.outputs)},
            "input": {"sides": list(given.manifest.shown), **what.input},
        },
        codes=given.codes,
    )


def star_exportable(manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path) -> Exportable:
    """The star-convex U-Net of a bundle of the family `star-unet`."""
    from segworkers.segmenters.star_options import star_parameters
    from segworkers.segmenters.torch_star_unet import load

    shape, settings = star_parameters(manifest, parameters)
    network = load(manifest, parameters, weights, "cpu").network
    head = {"type": "star", "logits": False, **dataclasses.asdict(settings)}
    return Exportable(
        network=_StarMaps(network, manifest.window[1:], shape.multiple).eval(),
        channels=shape.bands,
        outputs=("middle", "rays", "foreground"),
        head=head,
        input={"fill": 0.0},
    )


class _StarMaps(nn.Module):
    """Windows of one size to what `star_decoding.decode` wants, as `torch_star_unet.star_maps` makes it."""

    def __init__(self, network: nn.Module, window: tuple[int, int], multiple: int) -> None:
        super().__init__()
        self.network = network
        self.sides = window
        self.padding = (0, -window[1] % multiple, 0, -window[0] % multiple)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities and px."""
        middle, rays, foreground = self.network(functional.pad(images, self.padding))
        (height, width), (rows, columns) = self.sides, (-(-side // 2) for side in self.sides)
        return (
            torch.sigmoid(middle)[:, :rows, :columns],
            rays[:, :, :rows, :columns],
            torch.sigmoid(foreground)[:, :height, :width],
        )


def unet_exportable(manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path) -> Exportable:
    """The U-Net of a bundle of the family `unet`."""
    from segworkers.segmenters.torch_unet import load
    from segworkers.segmenters.unet_options import unet_shape

    shape = unet_shape(manifest, parameters)
    return Exportable(
        network=load(manifest, parameters, weights, "cpu").network,
        channels=shape.bands,
        outputs=("scores",),
        head={"type": "semantic", "activation": "softmax"},
        input={"fill": 0.0},
    )


def maskrcnn_exportable(manifest: ModelManifest, parameters: Mapping[str, Any], weights: Path) -> Exportable:
    """torchvision's Mask R-CNN of a bundle of the family `maskrcnn`."""
    from segworkers.segmenters.maskrcnn_options import bundle_settings
    from segworkers.segmenters.torch_maskrcnn import load_bundle

    segmenter = load_bundle(manifest, parameters, weights, "cpu")
    settings = bundle_settings(manifest, parameters)
    # COCO's unused outputs share a name, which a head's names may not.
    names = [name if name in manifest.classes else f"{index}: {name}" for index, name in enumerate(segmenter.outputs)]
    head = {"type": "maskrcnn", "names": names, "limit": settings.detections_per_image}
    head |= {"score_threshold": settings.score_threshold, "mask_threshold": settings.mask_threshold}
    mean = cast("list[float]", segmenter.network.transform.image_mean)
    return Exportable(
        network=segmenter.network,
        channels=3,
        outputs=("boxes", "labels", "scores", "masks"),
        head=head,
        input={"as_list": True, "repeat": 3, "fill": list(mean)},
        detector=True,
    )


EXPORTERS: dict[str, Callable[[ModelManifest, Mapping[str, Any], Path], Exportable]] = {
    "maskrcnn": maskrcnn_exportable,
    "star-unet": star_exportable,
    "unet": unet_exportable,
}
"""By family."""


def _those_that_can() -> str:
    return ", ".join(EXPORTERS)


def _noise(what: Exportable, manifest: ModelManifest) -> Tensor:
    """Two windows: of one alone some exporters take the number for fixed."""
    sides = manifest.shown if manifest.shown[0] > 1 else manifest.shown[1:]
    generator = torch.Generator().manual_seed(0)
    return torch.rand((2, what.channels, *sides), generator=generator)


def _write_torchscript(what: Exportable, example: Tensor, path: Path) -> None:
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # that TorchScript is no longer developed
        # A detector has control flow of its own, which a trace would not hold.
        made = (
            torch.jit.script(what.network)
            if what.detector
            else torch.jit.trace(what.network, (example,), check_trace=False)
        )
        torch.jit.save(made, str(path))
    _without_source_places(path)


def _without_source_places(path: Path) -> None:
    """Drop what tells where the source code lay on the machine that exported."""
    with zipfile.ZipFile(path) as file:
        entries = [(name, file.read(name)) for name in file.namelist() if not name.endswith(".debug_pkl")]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, content in entries:
            file.writestr(zipfile.ZipInfo(name), content)


def _write_exported(what: Exportable, example: Tensor, path: Path) -> None:
    program = torch.export.export(what.network, (example,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    torch.export.save(program, str(path))


def _write_onnx(what: Exportable, example: Tensor, path: Path) -> None:
    try:
        with _quiet():
            program: Any = torch.onnx.export(
                what.network,
                (example,),
                dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
                input_names=["windows"],
                output_names=list(what.outputs),
                verbose=False,
            )
    except (ImportError, torch.onnx.errors.OnnxExporterError) as error:
        if isinstance(error, ImportError) or "not installed" in str(error):
            raise SpecError('exporting to ONNX needs onnx and onnxscript: pip install "segworkers[onnx]"') from error
        raise
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()
    program.save(str(path), external_data=False)


_WRITERS: Mapping[Target, Callable[[Exportable, Tensor, Path], None]] = {
    "onnx": _write_onnx,
    "torchscript": _write_torchscript,
    "torch-export": _write_exported,
}


def _reread(target: Target, path: Path, *, as_list: bool) -> Network:
    if target == "onnx":
        from segworkers.segmenters.onnx_network import OnnxNetwork

        return OnnxNetwork(path, "cpu")
    read = read_torchscript if target == "torchscript" else read_exported
    return TorchNetwork(read(path, "cpu"), "cpu", as_list=as_list)


def _require_same(what: Exportable, example: Tensor, exported: Network) -> None:
    """Raise SpecError where the exported network says something else than the original, on noise."""
    example = example[:1] if what.detector else example
    with torch.inference_mode():
        said: Any = what.network(list(example) if what.detector else example)
    # A network of one output gives it by itself.
    said = (said,) if isinstance(said, Tensor) else said
    expected = [said[0][role] for role in what.outputs] if what.detector else list(said)
    given = exported.run(example.numpy())
    found = [given[role] for role in what.outputs] if what.detector else list(given.values())
    for role, ours, theirs in zip(what.outputs, (values.numpy() for values in expected), found, strict=True):
        apart = float(np.abs(ours - theirs).max(initial=0.0)) if ours.shape == theirs.shape else np.inf
        if not apart <= _TOLERANCE * max(1.0, float(np.abs(ours).max(initial=0.0))):
            raise SpecError(f"the exported network's {role} differs from the original's by {apart:.3g} on noise")


@contextmanager
def _quiet() -> Generator[None]:
    """Without the warnings of exporters, which are for those who write networks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
