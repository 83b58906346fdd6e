"""`segworkers demo`: real aerial and microscopy images, from files to tables, counted against what people counted.

Two runs of the main job with two classical models written as plain Python files: they show how the pipeline is used,
not how well one can segment. The images are fetched from published packages (see docs/data.md).
"""

# pyarrow has no type information.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from jobs import bootstrap
from jobs.demo_data import DemoData, DemoImage, prepare_demo
from jobs.events import open_progress
from jobs.loading import load_spec
from jobs.render import summary_lines
from jobs.report import write_report
from jobs.results import open_results
from jobs.stages import run
from jobs.verify import verify

_NUCLEI = "Smoothing, threshold and watershed; tuned on the training images, which most of the mosaic is made of."
_TREES = (
    "A blob detector without training. Where its count is near the true one, misses and false alarms cancel out: "
    "only about one crown in four is found where it is. It shows the pipeline; docs/data.md has the figures."
)
_MODELS = Path(__file__).parent / "demo_models"


@dataclass(frozen=True, slots=True)
class _Part:
    """One run of the demo."""

    note: str
    """What to know about the figures."""
    name: str
    title: str
    model: str
    images: tuple[DemoImage, ...]


def run_demo(output: Path, engine: str, cache_dir: Path | None = None) -> int:
    """Run the demo into `output`; the exit code. Raises InputError where the images cannot be fetched."""
    began = time.monotonic()
    data = prepare_demo(cache_dir, progress=lambda line: print(line, file=sys.stderr))
    pages = [_run(part, output, engine) for part in _parts(data)]
    print(f"\nDone in {time.monotonic() - began:.0f} s. Reports:")
    for page in pages:
        print(f"  {page}")
    return 0


def _parts(data: DemoData) -> tuple[_Part, ...]:
    return (
        _Part(
            _NUCLEI, "nuclei", "Nuclei in fluorescence microscopy", f"python:{_MODELS}/nuclei.py:Nuclei", (data.mosaic,)
        ),
        _Part(
            _TREES, "trees", "Tree crowns in aerial images", f"python:{_MODELS}/tree_crowns.py:TreeCrowns", data.aerial
        ),
    )


def _run(part: _Part, output: Path, engine: str) -> Path:
    """One run, its summary against the truth, its verification and its report."""
    print(f"\n{part.title}: {len(part.images)} images")
    out = output / part.name
    spec = load_spec(
        values={
            "inputs": [image.uri for image in part.images],
            "model": part.model,
            "output": {"path": str(out), "masks": "labels"},
            "tiling": {"tile": 2048},
            "engine": {"kind": engine},
        }
    )
    with open_progress() as events:
        # The demo may be repeated: an earlier one is taken up, or found finished.
        summary = run(spec, events=events, resume=True)
    print("\n".join(summary_lines(summary)))
    results = open_results(str(out))
    counted = {row["source_uri"]: row["object_count"] for row in results.sql("SELECT * FROM images").to_pylist()}
    print(f"{'image':<36} {'counted':>8} {'true':>8} {'error':>7}")
    for image in part.images:
        mine = counted[image.uri]
        print(f"{image.name:<36} {mine:>8,} {image.truth_count:>8,} {mine / image.truth_count - 1:>+7.1%}")
    print(part.note)
    checks = verify(str(out)).checks
    print(f"verified: {len(checks)} checks on {summary.tiles} tiles and {summary.objects:,} objects")
    truth = {image.uri: image.truth_count for image in part.images}
    return write_report(results, bootstrap.reader(), out / "report", title=part.title, truth=truth)
