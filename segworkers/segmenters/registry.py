"""The built-in trained models: what they are, whose they are, what they are for and what is known about them."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.archives import Archive
from segworkers.segmenters.published import PublishedWeights
from segworkers.segmenters.two_stage import Prior

_PYLIVERLESIONSEG = Archive(
    name="pyliverlesionseg",
    version="0.3",
    filename="pyliverlesionseg-0.3-py3-none-any.whl",
    sha256="ffe1576aefff5922ea8d1cfa2c50864cda97798798559542b9517689fd290cb8",
    size=27_475_937,
)
_DEEPMETA = Archive(
    name="napari-deepmeta",
    version="2.1",
    filename="napari_deepmeta-2.1-py3-none-any.whl",
    sha256="fccc75a5f8dc6aed51e4995188519e32f94456dec85d40a68a0a883f82f990e0",
    size=4_789_325,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """One network and what a user must know before trusting it."""

    summary: str
    manifest: ModelManifest
    """Without digest: that depends on the options too."""
    weights: PublishedWeights
    licence: str
    attribution: str
    use: str
    limits: str
    accuracy: str
    sources: tuple[str, ...] = ()
    """Publications."""
    prior: Prior | None = None
    """The first stage, itself in the registry, where the model has one."""


LIVER = ModelCard(
    summary="the liver in CT of the abdomen; first stage of liver-lesions",
    manifest=ModelManifest(
        name="liver",
        kind="dense",
        window=(136, 136, 163),
        context=(13, 13, 13),
        overlap=(0, 0, 0),
        classes=("liver",),
        spacing=(3.0, 3.0, 3.0),
        orientation="RAS",
        modalities=("CT",),
        connectivity=6,
    ),
    weights=PublishedWeights(
        archive=_PYLIVERLESIONSEG,
        member="pyliverlesionseg/trained_models/"
        "model_unet_ct_mr_liv_seg_resize_1.5mm_med_3_resize_3mm_20201011_dice_loss_val_binary_dice_mean.hdf5",
        filename="pyliverlesionseg-0.3-liver.safetensors",
        digest="e0840930165f8749fb5f39104eff5ffab9c48abe4f01015e215eae4368cdd45a",
    ),
    licence="Apache-2.0",
    attribution="Xikai Tang and Georg Schramm, KU Leuven: pyliverlesionseg; built on DeepVoxNet (KU Leuven, MIRC). "
    "The weights are unchanged but for their file format.",
    use="Not used by itself: it sees the abdomen in one window.",
    limits="CT whose slices are axial or nearly so, with the dome of the liver or the lungs above it in view.",
    accuracy="Not measured here beyond one scan, looked at by eye.",
    sources=(
        "X. Tang et al.: Whole liver segmentation based on deep learning and manual adjustment for clinical use in "
        "SIRT. Eur J Nucl Med Mol Imaging 47 (2020), doi:10.1007/s00259-020-04800-3",
    ),
)

LIVER_LESIONS = ModelCard(
    summary="lesions of the liver in CT: the liver first, then lesions inside it",
    manifest=ModelManifest(
        name="liver-lesions",
        kind="dense",
        window=(42, 84, 92),
        # the network's own, and two voxels for dilating the liver
        context=(24, 46, 46),
        overlap=(0, 0, 0),
        classes=("liver_lesion",),
        spacing=(3.0, 1.0, 1.0),
        orientation="RAS",
        modalities=("CT",),
        connectivity=26,
    ),
    weights=PublishedWeights(
        archive=_PYLIVERLESIONSEG,
        member="pyliverlesionseg/trained_models/"
        "model_unet_ct_mr_lesion_seg_resize_1mm_1mm_3mm_20220207_dice_loss_val_binary_dice_mean.hdf5",
        filename="pyliverlesionseg-0.3-liver-lesions.safetensors",
        digest="3db4d0dc6d2f917bab84088383d5478f3ab4fcf9c3a65928bbb97be83573c74a",
    ),
    licence=LIVER.licence,
    attribution=LIVER.attribution,
    use="Research: finding and measuring focal lesions of the liver in CT archives, for people who look at the "
    "results. Not a medical device.",
    limits="CT in HU with axial slices that show the liver and the base of the lungs. The published networks know MR "
    "too; that path is not offered, because nothing was there to check it on. Small false lesions along vessels and "
    "the border of the liver are common.",
    accuracy="Accuracy on real lesions: not measured. Inserted lesions only: even spheres (radius 4 to 16 mm, 25 and "
    "45 HU darker) in the even, unenhanced liver of one real CT. Clear of each other and of the scan's ends, 20 of 20 "
    "were found, median Dice by size and contrast 0.75 to 0.92; allowed to lie closer and at the ends, 18 of 20. In "
    "the untouched scan 8 lesions of at most 0.85 ml were reported, taken for false (benchmarks/liver_insertions.py).",
    sources=LIVER.sources,
    prior=Prior(reference="liver", manifest=LIVER.manifest, region="abdomen", opened=True, margin=(2, 2, 2)),
)

MR_METASTASES = ModelCard(
    summary="lungs and lung metastases of mice in MR, slice by slice",
    manifest=ModelManifest(
        name="mr-metastases",
        kind="dense",
        window=(1, 128, 128),
        overlap=(0, 0, 0),
        classes=("lung", "metastasis"),
        modalities=("MR",),
        connectivity=26,
        batch=(4, 1, 1),
    ),
    weights=PublishedWeights(
        archive=_DEEPMETA,
        member="napari_deepmeta/resources/model.pth",
        filename="napari-deepmeta-2.1.safetensors",
        digest="ce036112c1458f3debd45df6e958f0ece56d1867f1a0e3789977299ad04022e4",
    ),
    licence="MIT",
    attribution="Copyright (c) 2022 Edgar Lefevre: napari-deepmeta. The weights are unchanged but for their file "
    "format.",
    use="Research on mice; a small real tumour model for demonstrations and tests.",
    limits="Slices of 128 x 128 voxels of about 0.17 mm that show the chest of a mouse. Not for people. The package's "
    "optional clean-up of small and single-slice parts is not applied.",
    accuracy="Not measured: no ground truth comes with it. On the package's own example our port gives its own answer, "
    "voxel by voxel.",
)

CARDS = {card.manifest.name: card for card in (LIVER_LESIONS, MR_METASTASES)}
"""The models that a job may name."""

FIRST_STAGES = {card.manifest.name: card for card in (LIVER,)}
"""Models that others begin with."""


def card_of(name: str) -> ModelCard:
    """The card of a built-in model, first stages included. Raises SpecError where there is none."""
    card = (CARDS | FIRST_STAGES).get(name)
    if card is None:
        raise SpecError(f"no built-in model {name!r}; there are {', '.join(CARDS)}")
    return card


def card_text(card: ModelCard) -> str:
    """The card for a terminal, 100 characters wide."""
    manifest, archive = card.manifest, card.weights.archive
    blocks = [f"{manifest.name}: {card.summary}", ""]
    entries = [
        ("licence", card.licence),
        ("attribution", card.attribution),
        ("use", card.use),
        ("limits", card.limits),
        ("accuracy", card.accuracy),
        ("classes", ", ".join(manifest.classes)),
        ("modality", ", ".join(manifest.modalities)),
        ("window", _window(manifest)),
    ]
    if card.prior is not None:
        entries.append(("first stage", f"{card.prior.reference}, {_window(card.prior.manifest)}"))
    entries.append(("package", f"{archive.name} {archive.version}, sha256 {archive.sha256}"))
    entries.append(("weights", f"{card.weights.member}, tensors sha256 {card.weights.digest}"))
    entries += [("source", source) for source in card.sources]
    for label, text in entries:
        blocks += textwrap.wrap(
            text, 100, initial_indent=f"{label:13}", subsequent_indent=" " * 13, break_on_hyphens=False
        )
    return "\n".join(blocks)


def cards_list() -> str:
    """One line for each built-in model."""
    return "\n".join(f"{name:16} {card.licence:11} {card.summary}" for name, card in CARDS.items())


def _window(manifest: ModelManifest) -> str:
    sides = " x ".join(map(str, manifest.window))
    text = f"{sides} voxels (z, y, x)"
    if any(manifest.context):
        text += f" with {' x '.join(map(str, manifest.context))} around"
    if manifest.spacing is not None:
        text += f", {' x '.join(f'{mm:g}' for mm in manifest.spacing)} mm"
    return text
