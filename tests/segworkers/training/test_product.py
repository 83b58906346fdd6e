"""What training leaves: figures with intervals, the loss curve, weights in half precision."""

from __future__ import annotations

import csv
import io
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import nn

from segworkers.segmenters.compact_options import CompactShape
from segworkers.training.matching import THRESHOLDS, Agreement
from segworkers.training.product import Figures, curve_csv, curve_svg, halved, plain
from segworkers.training.run import Check


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


def test_plain_values_are_those_of_json():
    made = plain({"shape": CompactShape(), "a": (1, (2.5,)), "b": {"c": "d"}})
    assert made["a"] == [1, [2.5]] and made["b"] == {"c": "d"} and made["shape"]["widths"] == [32, 48, 96, 128, 192]
