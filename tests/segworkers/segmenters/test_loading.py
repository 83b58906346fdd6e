"""Model references: what is known, what is refused, and that nothing heavy is imported for it."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from schemas.errors import SpecError
from segworkers.segmenters.loading import MODELS, load_model, resolve_model


@pytest.mark.parametrize("reference", ["", "treshold", "maskrcnn", "maskrcnn:", "yolo:weights.pt", "threshold:3"])
def test_unknown_reference_lists_what_exists(reference: str) -> None:
    with pytest.raises(SpecError, match="is not known; there are") as caught:
        resolve_model(reference, {})
    assert all(form in str(caught.value) for form in MODELS)


@pytest.mark.parametrize("reference", ["python:model.py", "python::Cls", "python:model.py:", "python:a.py:not a name"])
def test_malformed_python_reference_shows_the_form(reference: str) -> None:
    with pytest.raises(SpecError, match=r"python:path/to/file\.py:ClassName"):
        resolve_model(reference, {})


def test_missing_files_are_refused_before_anything_is_loaded() -> None:
    with pytest.raises(SpecError, match=r"no file nowhere/model.py in "):
        resolve_model("python:nowhere/model.py:Model", {})
    with pytest.raises(SpecError, match=r"no weights file /nowhere/w.pth"):
        resolve_model("maskrcnn:/nowhere/w.pth", {})


def test_options_of_mask_rcnn_are_checked_without_torch() -> None:
    with pytest.raises(SpecError) as caught:
        resolve_model(
            "maskrcnn_resnet50_fpn:COCO_V1",
            {"score_treshold": 0.3, "window": [2, 64, 64], "overlap": [0, 40, 0], "bands": [0, 1], "box_nms": 2},
        )
    assert len(caught.value.problems) == 5 and "did you mean 'score_threshold'" in str(caught.value)


def test_threshold_loads_in_another_process_without_torch() -> None:
    manifest, spec = resolve_model("threshold", {"value": 12}, threads=3)
    script = (
        "import pickle, sys; from segworkers.segmenters.loading import load_model;"
        "print(load_model(pickle.load(sys.stdin.buffer)).manifest.digest, 'torch' in sys.modules, 'ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], input=pickle.dumps(spec), capture_output=True, check=True)
    assert done.stdout.decode().split() == [manifest.digest, "False", "False"]
    assert load_model(spec).manifest == manifest and spec.threads == 3


def test_digest_follows_the_options() -> None:
    digests = {resolve_model("threshold", {"value": value})[0].digest for value in (1, 2, "otsu")}
    assert len(digests) == 3
    assert resolve_model("threshold", {"value": 1, "above": True})[0].digest == (
        resolve_model("threshold", {"above": True, "value": 1})[0].digest
    )
