"""What training leaves: figures with intervals, the loss curve, weights in half precision."""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from schemas.bundles import WheelFile
from schemas.errors import SpecError
from segworkers.segmenters.bundles import open_bundle, weights_file, write_bundle
from segworkers.segmenters.compact_options import CompactShape
from segworkers.training.matching import THRESHOLDS, Agreement
from segworkers.training.product import Figures, curve_csv, curve_svg, halved, load_start, plain
from segworkers.training.run import Check
from tests.model_bundles import logistic


def _agreement(predicted: int, annotated: int, matched: int) -> Agreement:
    return Agreement(predicted, annotated, tuple(max(matched - k, 0) for k in range(len(THRESHOLDS))))


def test_figures_of_all_samples_together():
    text = Figures((_agreement(8, 10, 7), _agreement(2, 10, 1))).text()
    assert text.startswith("F1 at IoU 0.5 0.533, precision 0.800 (0.490–0.943), recall 0.400 (0.219–0.613)")
    assert "10 objects found for 20 annotated" in text


def test_with_five_samples_f1_has_an_interval():
    few = Figures(tuple(_agreement(10, 10, n) for n in (9, 8, 7, 9))).text()
    enough = Figures(tuple(_agreement(10, 10, n) for n in (9, 8, 7, 9, 5))).text()
    assert few.partition(",")[0] == "F1 at IoU 0.5 0.825"
    low, _, high = enough.partition("(")[2].partition(")")[0].partition("–")
    assert enough.startswith("F1 at IoU 0.5 0.760 (") and 0.5 <= float(low) < 0.76 < float(high) <= 0.9


def test_nothing_found_has_no_precision():
    assert "precision not defined" in Figures((_agreement(0, 5, 0),)).text()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_curve_as_a_table_and_a_picture(count):
    history = [Check(10 * (k + 1), 2.0 / (k + 1), _agreement(10, 10, k)) for k in range(count)]
    rows = list(csv.DictReader(io.StringIO(curve_csv(history))))
    assert [int(row["step"]) for row in rows] == [10, 20, 30][:count]
    picture = ElementTree.fromstring(curve_svg(history))
    lines = picture.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [count, count]


def test_stored_weights_are_half_as_large_and_close():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    stored = halved(network)
    assert stored["0.weight"].dtype == torch.float16 and stored["1.num_batches_tracked"].dtype == torch.int64
    assert np.allclose(stored["0.weight"].float(), network.state_dict()["0.weight"], atol=1e-3)


def test_weights_to_begin_with_are_those_that_the_model_would_be_loaded_with(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGWORKERS_CACHE", str(tmp_path / "cache"))
    bundle, folder = logistic(tmp_path / "bright"), tmp_path / "bright"
    save_file({"slope": torch.tensor(3.0, dtype=torch.float16)}, folder / "second.safetensors")
    entries = (*bundle.weights, weights_file(folder, "second.safetensors"))
    write_bundle(replace(bundle, weights=entries, parameters={"weights": "second.safetensors"}), folder)
    start = load_start(open_bundle(str(folder)))
    assert start["slope"].dtype == torch.float32 and float(start["slope"]) == 3.0
    content = (folder / "second.safetensors").read_bytes()
    (folder / "second.safetensors").write_bytes(content[:-1] + b"\1")
    with pytest.raises(SpecError, match="torn or was changed"):
        load_start(open_bundle(str(folder)))


def test_weights_to_begin_with_are_fetched(tmp_path, monkeypatch):
    archives = tmp_path / "cache" / "models" / "archives"
    archives.mkdir(parents=True)
    monkeypatch.setenv("SEGWORKERS_CACHE", str(tmp_path / "cache"))
    bundle, folder = logistic(tmp_path / "bright"), tmp_path / "bright"
    with zipfile.ZipFile(archives / "thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.write(folder / "weights.safetensors", "thing/w.safetensors")
    (folder / "weights.safetensors").unlink()
    whole = weights_file(archives, "thing-1.0-py3-none-any.whl")
    pinned = WheelFile(filename=whole.name, sha256=str(whole.sha256), size=int(whole.size or 0))
    entry = replace(bundle.weights[0], uri="package:thing==1.0/thing/w.safetensors", wheel=pinned)
    write_bundle(replace(bundle, weights=(entry,)), folder)
    assert float(load_start(open_bundle(str(folder)))["slope"]) == 10.0


def test_plain_values_are_those_of_json():
    made = plain({"shape": CompactShape(), "a": (1, (2.5,)), "b": {"c": "d"}})
    assert made["a"] == [1, [2.5]] and made["b"] == {"c": "d"} and made["shape"]["widths"] == [32, 48, 96, 128, 192]
