"""Train `nuclei-maskrcnn`, the package's small Mask R-CNN for nuclei in fluorescence microscopy, and write its bundle.

    OMP_NUM_THREADS=1 python -m benchmarks.models.train_nuclei_maskrcnn OUT [--steps N] [--device cuda] [--describe]

Data and splits are those of `benchmarks.models.train_nuclei`; the test split is not read here. The score threshold is
chosen on the validation split, after training. About eight minutes on one CPU core; interrupted, the same
command goes on from its last validation. On a CPU and with the same number of threads it gives the same weights.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save

from benchmarks.models.nuclei_data import licence, read_split, samples
from benchmarks.models.train_nuclei import CARD, CODES, MIXED
from schemas.bundles import ModelBundle
from schemas.models import ModelManifest
from segworkers.segmenters.base import WindowMasks
from segworkers.segmenters.bundles import weights_file, write_bundle
from segworkers.segmenters.compact_options import CompactShape
from segworkers.training.augment import Augmentation
from segworkers.training.loop import Options, train
from segworkers.training.maskrcnn import MaskRcnnFamily
from segworkers.training.matching import NOTHING, Agreement, agreement
from segworkers.training.product import Figures, halved, plain
from segworkers.training.run import Result
from segworkers.training.samples import Sample

NAME, WEIGHTS = "nuclei-maskrcnn", "nuclei-maskrcnn.safetensors"
MANIFEST = ModelManifest(
    name=NAME,
    kind="instance",
    window=(1, 512, 512),
    overlap=(0, 96, 96),
    classes=("nucleus",),
    normalise="percentile",
    object_size=60.0,
)
SHAPE = CompactShape(mask_layers=2)
AUGMENTATION = Augmentation(side=192)
OPTIONS = Options(steps=400, batch=6, learning_rate=1e-3, weight_decay=1e-3, check_every=100, seed=0)
MEASURED = (
    "On the test split of mnfinder 1.2.3, used once, through the tiled job on a mosaic, without the image that is also "
    "a training image (471 nuclei; 95 % intervals over its 15 images): F1 at IoU 0.5 0.867 (0.826–0.928), 0.7 0.819 "
    "(0.781–0.878), 0.8 0.774 (0.727–0.847), 0.9 0.417; PQ 0.758; count 6.8 % too high; the same objects with tiles "
    "and without (benchmarks/nuclei_accuracy.py). With that image, 544 nuclei: F1 at 0.5 0.870. On the validation "
    "split, on which it was chosen, in the same way: 0.894 (0.844–0.951)."
)
"""Of the weights that come along; other trainings say what they had on the validation split."""
THRESHOLD = 0.8
"""The least score of the weights that come along, as chosen."""
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9)
"""Scores among which the least that counts is chosen."""


def choose_threshold(family: MaskRcnnFamily, result: Result, validation: list[Sample]) -> tuple[float, Figures]:
    """The threshold with the largest mean F1 over IoUs, and its figures, with the weights that are stored."""
    network = result.network
    network.load_state_dict({name: value.float() for name, value in halved(network).items()})
    with torch.inference_mode():
        said = [family.predict(network, sample.image, "cpu") for sample in validation]
    tried = {
        least: [agreement(_from(answer, least), sample) for answer, sample in zip(said, validation, strict=True)]
        for least in THRESHOLDS
    }
    for least, each in tried.items():
        print(f"score {least}: {_line(sum(each, NOTHING))}", flush=True)
    best = max(THRESHOLDS, key=lambda least: sum(tried[least], NOTHING).mean_f1)
    return best, Figures(tuple(tried[best]))


def _from(said: WindowMasks, least: float) -> WindowMasks:
    kept = said.scores >= least
    crops = [crop for crop, there in zip(said.crops, kept, strict=True) if there]
    return WindowMasks(said.labels[kept], said.scores[kept], crops)


def _line(total: Agreement) -> str:
    return f"F1 {' '.join(f'{value:.3f}' for value in total.f1)}, {total.predicted} for {total.annotated}"


def describe_bundle(folder: Path, threshold: float, accuracy: str) -> None:
    """Write `model.json` for the weights that are there."""
    card = replace(
        CARD,
        summary="nuclei in fluorescence microscopy, by a small Mask R-CNN, beside `nuclei`",
        training_data=CARD.training_data.partition(" Weights were chosen")[0]
        + " Weights and the score threshold were chosen on its validation split (3 images, 205 nuclei).",
        accuracy=accuracy,
        sources=(
            "L. DiPeso et al.: MNFinder, hatch-lab/mnfinder (package mnfinder 1.2.3)",
            "K. He et al.: Mask R-CNN. ICCV 2017, doi:10.1109/ICCV.2017.322",
            "Y. Wu, K. He: Group Normalization. ECCV 2018, doi:10.1007/978-3-030-01261-8_1",
        ),
    )
    bundle = ModelBundle(
        name=NAME,
        family="maskrcnn-compact",
        manifest=MANIFEST,
        codes=CODES,
        card=card,
        weights=(weights_file(folder, WEIGHTS),),
        parameters=plain({"weights": WEIGHTS, "shape": SHAPE, "score_threshold": threshold}),
    )
    write_bundle(bundle, folder)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=OPTIONS.steps)
    parser.add_argument("--seed", type=int, default=OPTIONS.seed)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--describe", action="store_true", help="only write model.json anew, with MEASURED")
    given = parser.parse_args()
    if given.describe:
        describe_bundle(given.output, THRESHOLD, MEASURED)
        return
    options = replace(OPTIONS, steps=given.steps, seed=given.seed, device=given.device)
    # what is validated while training: about the threshold that trials chose
    family = MaskRcnnFamily(manifest=MANIFEST, shape=SHAPE, side=AUGMENTATION.side, parameters={"score_threshold": 0.8})
    start, busy = time.time(), time.process_time()

    def progress(line: str) -> None:
        print(f"{time.time() - start:.0f} s, {time.process_time() - busy:.0f} s of CPU: {line}", flush=True)

    checkpoint = given.output / "training.pt"
    validation = samples(read_split("validation"), excuse=True)
    training = samples(read_split("training"), MIXED)
    result = train(family, training, validation, options, AUGMENTATION, progress, checkpoint=checkpoint)
    wide = replace(family, parameters={"score_threshold": min(THRESHOLDS)})
    threshold, figures = choose_threshold(wide, result, validation)
    (given.output / WEIGHTS).write_bytes(save(halved(result.network)))
    notice = f"{WEIGHTS} was trained on images of the Python package mnfinder 1.2.3, whose licence is:\n\n"
    (given.output / "NOTICE.txt").write_text(notice + licence(), encoding="utf-8")
    accuracy = f"On the validation split, image by image, on which it was chosen: {figures.text()}."
    describe_bundle(given.output, threshold, accuracy)
    checkpoint.unlink()
    progress(f"score threshold {threshold}. {accuracy}")


if __name__ == "__main__":
    main()
