"""Commands about models: what there is, training one, and comparing what one found with the truth.

As in `jobs.cli`, which offers them: what a command does lives in the module it imports when it runs.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jobs.arguments import DONE, INCOMPLETE, Address, Out


class ModelAction(StrEnum):
    """What `models` does."""

    list = "list"
    show = "show"
    fetch = "fetch"
    verify = "verify"
    export = "export"
    import_ = "import"
    join_ = "join"


def models(
    action: Annotated[ModelAction, typer.Argument(help="What to do with models.")] = ModelAction.list,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A model of the list, or the path of a bundle; none for `list`."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="BUNDLE", help="Folder for a new bundle.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--to", help="With `export`: onnx, torchscript or torch-export.")
    ] = None,
    second: Annotated[str | None, typer.Option("--with", metavar="NAME", help="With `join`: the dense model.")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="With `import` and `join`: a choice; repeatable."),
    ] = None,
) -> None:
    """List the models that come along, show a model's card, fetch its weights, or verify that it is as it says.

    `verify` hashes the weights again, loads the network and asks it once; exit code 1 where something is wrong. Without
    a name: all models whose weights are here. `export` writes a model's network for another runtime, `import` a bundle
    of the MONAI bundle in the folder NAME, `join` one of a detector and a dense model that looks into its boxes.
    """
    if action in (ModelAction.export, ModelAction.import_, ModelAction.join_):
        from jobs.exchange import exchange_text

        print(exchange_text(action.value, name, output, target, second, sets or ()))
        return
    from jobs.models import model_text

    print(model_text(action.value, name))


def train(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Folder with images and annotations (COCO, GeoJSON, label rasters).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="BUNDLE", help="Folder for the trained model.")],
    family: Annotated[
        str | None, typer.Option("--family", help="star-unet, maskrcnn or unet; with --from that model's.")
    ] = None,
    truth: Annotated[
        list[Path] | None, typer.Option("--truth", help="Annotations that lie elsewhere; repeatable.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", metavar="A,B", help="Default: those that the annotations name.")
    ] = None,
    class_field: Annotated[str | None, typer.Option("--class-field", help="Field of GeoJSON with the class.")] = None,
    bands: Annotated[str | None, typer.Option("--bands", metavar="I,J", help="0-based [all but alpha].")] = None,
    normalise: Annotated[
        str | None, typer.Option("--normalise", help="unit for 8-bit images, else percentile; or zscore, otsu.")
    ] = None,
    window: Annotated[int | None, typer.Option("--window", min=32, help="Pixels of the model's sides [512].")] = None,
    size: Annotated[str, typer.Option("--size", help="Of the network: tiny, small or usual.")] = "usual",
    start: Annotated[
        str | None, typer.Option("--from", metavar="BUNDLE", help="Train this model on, instead of a new one.")
    ] = None,
    validation: Annotated[
        str, typer.Option("--validation", metavar="SHARE|FOLDER", help="Share of the images, or a folder like DATA.")
    ] = "0.2",
    steps: Annotated[int, typer.Option("--steps", min=1)] = 1500,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Crops in a step; default: the family's.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Default: the family's.")] = None,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Of each process; default: the cores, at most 8.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes, with Ray Train; GPUs if any.")] = 1,
    address: Address = None,
    name: Annotated[str | None, typer.Option("--name", help="Of the model; default: that of BUNDLE.")] = None,
) -> None:
    """Train a network on annotated images; BUNDLE is then a model that `segment` runs.

    Interrupted, the same command goes on from its last validation. What was measured is in the model's card:
    `segworkers models show BUNDLE`.
    """
    from jobs.train import train_bundle
    from jobs.training.spec import parse_spec

    spec = parse_spec(
        data=data,
        output=output,
        family=family,
        truth=tuple(truth or ()),
        classes=classes,
        class_field=class_field,
        bands=bands,
        normalise=normalise,
        window=window,
        size=size,
        start=start,
        validation=validation,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        seed=seed,
        device=device,
        threads=threads,
        workers=workers,
        name=name,
    )
    print(train_bundle(spec, lambda line: print(line, file=sys.stderr, flush=True), address))


def evaluate(
    out: Out,
    truth: Annotated[
        list[Path],
        typer.Argument(
            metavar="TRUTH...",
            help="COCO JSON, GeoJSON, GeoPackage, label rasters, DICOM segmentations, folders of them, or a CSV with "
            "the columns source and truth.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for tables and a page; created.")
    ] = None,
    iou: Annotated[
        list[float] | None, typer.Option("--iou", help="Least IoU of a match; repeatable. Default: 0.5, 0.7, 0.8, 0.9.")
    ] = None,
    boxes: Annotated[bool, typer.Option("--boxes", help="Compare boxes instead of masks.")] = False,
    ignore: Annotated[
        list[Path] | None,
        typer.Option("--ignore", metavar="FILE", help="Regions where nothing counts, in the formats of TRUTH."),
    ] = None,
    within: Annotated[
        list[Path] | None,
        typer.Option("--within", metavar="FILE", help="What was annotated; outside of it nothing counts."),
    ] = None,
    class_field: Annotated[
        str | None,
        typer.Option(
            "--class-field", metavar="FIELD", help="Field of vector files with the class; else label or class."
        ),
    ] = None,
    class_map: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="TRUTH=RUN", help="A class of the truth and its name in the run; repeatable."),
    ] = None,
    any_class: Annotated[bool, typer.Option("--any-class", help="Compare objects whatever their class.")] = False,
    components: Annotated[
        bool, typer.Option("--components", help="Each connected piece of the truth is an object of its own.")
    ] = False,
    sizes: Annotated[
        str | None, typer.Option("--sizes", metavar="PX,PX", help="Borders between sizes in pixels; default 1024,9216.")
    ] = None,
    crosswalk: Annotated[
        Path | None, typer.Option("--crosswalk", metavar="FOLDER", help="Crosswalk of a DICOM run; default beside OUT.")
    ] = None,
) -> None:
    """Compare a run with ground truth: counts, precision, recall, F1, AP, panoptic quality, with intervals.

    Exit code 3 where truth or images have no counterpart, or objects lie in what failed: these are not counted.
    """
    from jobs.evaluate import options_of, run_evaluate

    options = options_of(
        iou=iou,
        sizes=sizes,
        class_map=class_map or (),
        boxes=boxes,
        any_class=any_class,
        ignore=ignore or (),
        within=within or (),
        class_field=class_field,
        components=components,
        crosswalk=crosswalk,
    )
    made, lines = run_evaluate(out, truth, options, output)
    print("\n".join(lines))
    raise typer.Exit(DONE if made.is_complete else INCOMPLETE)
