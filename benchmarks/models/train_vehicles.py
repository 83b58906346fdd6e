"""Train `vehicles`, the package's star-convex U-Net for vehicles seen from above, and write its bundle.

    OMP_NUM_THREADS=1 python -m benchmarks.models.train_vehicles OUT
    options: [--reduced] [--device cuda] [--scenes N] [--steps N] [--seed N] [--from BUNDLE]

The first line, with seed 0, 500 scenes and 4500 steps (26 minutes of one core), made the shipped weights; those of step
3900 did best on the validation scenes and were kept.

Data: drawn scenes (`benchmarks.models.vehicle_scenes`) on real ground, seeds 0 to N - 1; none of the vehicles in them
is real. Weights are chosen on VALIDATION scenes of other seeds, on the same images' held-out ground; the decoding was
chosen on them and on the western half of the labelled image of Rotterdam (17 vehicles), and so was what
is drawn: trees, paths, yards and reflections of the sun came in after a first model had failed there. On a CPU and with
the same number of threads the same command gives the same weights.
"""

# safetensors is partly untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.models.star_trainer import StarBundle, clock, trainer_arguments, warmed
from benchmarks.models.vehicle_backgrounds import Background, backgrounds
from benchmarks.models.vehicle_scenes import MODEL, sample
from schemas.bundles import Card
from schemas.models import ModelManifest
from segworkers.segmenters.star_decoding import StarSettings
from segworkers.segmenters.star_options import StarShape
from segworkers.training.augment import Augmentation
from segworkers.training.loop import Options, train
from segworkers.training.samples import Sample
from segworkers.training.star_unet import StarFamily

SHAPE = StarShape(bands=1, widths=(16, 32, 64, 96, 128), rays=16)
SETTINGS = StarSettings(middle=0.4, overlap=0.3, foreground=0.4, reach=1.2, core=1.0, least=20)
"""Of the bundle, chosen after training."""
WHILE_TRAINING = StarSettings(middle=0.2, overlap=0.3, foreground=0.4, reach=1.2, core=0.8, least=20)
"""With these the weights to keep were chosen."""
AUGMENTATION = Augmentation(
    side=128,
    zoom=(0.9, 1.1),
    gain=(0.8, 1.25),
    gamma=(0.6, 1.6),
    offset=(-0.05, 0.05),
    blur=(0.0, 0.6),
    noise=(0.0, 0.02),
    border=0.1,
    on_object=0.8,
)
OPTIONS = Options(steps=4500, batch=8, learning_rate=3e-3, check_every=300, average=0.99, seed=0)
SCENES = 500
VALIDATION = range(1_000_000, 1_000_012)
"""Seeds; those of the synthetic test are others (`benchmarks.vehicles_accuracy`)."""

MANIFEST = ModelManifest(
    name="vehicles",
    kind="instance",
    window=(1, 512, 512),
    overlap=(0, 128, 128),
    classes=("vehicle",),
    bands=(0,),
    normalise="percentile",
    resolution=MODEL,
    enlarge=2.0,
    object_size=24.0,
)
NOTICE = """vehicles.safetensors was trained on scenes in which all vehicles are drawn. The ground under them is:

- airborne camera imagery of the National Ecological Observatory Network (NEON), CC0-1.0, from the Python package
  deepforest 2.1.0. No endorsement by NEON is implied.
- SpaceNet imagery of Atlanta (SpaceNet 4) and Rotterdam (SpaceNet 6), (c) Maxar, CC BY-SA 4.0
  (https://creativecommons.org/licenses/by-sa/4.0/), https://spacenet.ai, from the Python package solaris 0.4.0.

No part of these images is contained in the weights' file or in this package.
"""
CARD = Card(
    task="vehicles in aerial and satellite images",
    summary="vehicles seen from above at 10 to 50 cm per pixel, one band, one by one; demonstration quality",
    licence="MIT",
    attribution="Weights trained for segworkers on drawn vehicles; the ground under them is airborne camera imagery "
    "of the National Ecological Observatory Network (NEON; CC0-1.0) and SpaceNet imagery of Atlanta and Rotterdam "
    "(Maxar, CC BY-SA 4.0, through solaris 0.4.0).",
    training_data="Drawn scenes only (`benchmarks/models/vehicle_scenes.py`): cars, vans and lorries, parked and on "
    "the road, with shadows, between drawn roads, houses and trees, on real ground of Yellowstone, Atlanta and "
    "Rotterdam; blurred, sampled, sharpened and compressed as a whole to images of 10 to 50 cm. Not one real vehicle "
    "was learnt from.",
    accuracy="Real vehicles, 0.5 m, panchromatic (eastern half of one image of Rotterdam, 43 labelled by hand and "
    "once; measured once; benchmarks/vehicles_accuracy.py, tiled job): at IoU 0.3 precision 0.66 (95 % interval 0.49 "
    "to 0.79), recall 0.53 (0.39 to 0.67), F1 0.59; at IoU 0.5 precision 0.60 (0.44 to 0.74), recall 0.49 (0.35 to "
    "0.63), F1 0.54. On another image of 5.5 ha with hardly any vehicles it finds 28. On the western half, on which "
    "things were chosen (17 vehicles), precision 0.67 and recall 0.82. Drawn vehicles (1,030 in scenes that nothing "
    "was chosen on), IoU 0.5: F1 0.93 at 0.1 m, 0.91 at 0.2 m, 0.90 at 0.3 m, 0.85 at 0.5 m; this says how well the "
    "drawings were learnt and nothing about real ones. Real images of 0.1 to 0.3 m and in colour were not measured: "
    "none with labels and a free licence was at hand.",
    use="Trying out the pipeline on parking lots and roads; counts for orientation. Georeferenced images of 10 to 50 "
    "cm; the first band is looked at (panchromatic, or red of RGB; another with model.bands). Finer images are reduced "
    "to 25 cm, coarser ones enlarged up to twice.",
    limits="Demonstration quality: of real vehicles at 0.5 m it misses about half, a third of what it finds is wrong "
    "(bright pieces of pavement, for one), and where there are hardly any it finds some 5 per hectare. Do not publish "
    "its counts without measuring them on your own labels with `segworkers evaluate`. For real work fine-tune it with "
    "`segworkers train` on some hundred labelled vehicles of your own images, or use a detector trained on DOTA or "
    "xView (many of these are AGPL or for research only), or a commercial one.",
    sources=(
        "U. Schmidt et al.: Cell Detection with Star-Convex Polygons. MICCAI 2018, doi:10.1007/978-3-030-00934-2_30",
        "J. Shermeyer et al.: SpaceNet 6: Multi-Sensor All Weather Mapping Dataset. CVPR Workshops 2020",
        "N. Weir et al.: SpaceNet MVOI (SpaceNet 4). ICCV 2019",
    ),
)


def scenes(ground: Sequence[Background], seeds: Sequence[int], threads: int) -> list[Sample]:
    """Samples of drawn scenes."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(partial(sample, ground), seeds))


BUNDLE = StarBundle(manifest=MANIFEST, shape=SHAPE, settings=SETTINGS, card=CARD, notice=lambda: NOTICE)


def main() -> None:
    """See the module."""
    parser = trainer_arguments(__doc__, OPTIONS)
    parser.add_argument("--from", dest="start", type=Path, help="bundle whose weights the training begins with")
    parser.add_argument("--scenes", type=int, default=SCENES)
    given = parser.parse_args()
    if given.describe:
        BUNDLE.describe(given.out)
        return
    changes: dict[str, Any] = {"device": given.device, "threads": given.threads, "steps": given.steps}
    options, count = replace(OPTIONS, **changes, seed=given.seed), given.scenes
    if given.reduced:
        options, count = replace(options, steps=min(options.steps, 60), check_every=30), min(count, 20)
    progress = clock()
    training = scenes(backgrounds(), range(count * given.seed, count * (given.seed + 1)), given.threads)
    validation = scenes(backgrounds(held_out=True), VALIDATION, given.threads)
    progress(f"{len(training)} scenes to train on, {len(validation)} to validate on; {options}; {AUGMENTATION}")
    family = warmed(StarFamily(shape=SHAPE, settings=WHILE_TRAINING, least=12), given.start)
    result = train(family, training, validation, options, AUGMENTATION, progress, checkpoint=given.checkpoint)
    BUNDLE.save(result, given.out)
    progress(f"kept step {result.best.step}; wrote {given.out}")


if __name__ == "__main__":
    main()
