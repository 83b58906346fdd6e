"""Mask R-CNN behind the port says exactly what torchvision's own forward pass says."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
from torchvision.models import detection  # noqa: E402

from schemas.errors import SpecError, TileError  # noqa: E402
from segworkers.segmenters import torch_maskrcnn  # noqa: E402
from segworkers.segmenters.base import WindowMasks  # noqa: E402
from segworkers.segmenters.loading import load_model, resolve_model  # noqa: E402

CLASSES = ["car", "boat"]
OPTIONS: dict[str, object] = {
    "classes": CLASSES,
    "window": [96, 128],
    "overlap": [32, 32],
    "score_threshold": 0.1,
    "detections_per_image": 25,
    "proposals_per_image": 60,
}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network() -> Any:
    """v1 with random weights: every region scores about 1/3 for each class, and masks are speckled."""
    torch.manual_seed(3)
    sizes = {"min_size": 96, "max_size": 128, "rpn_pre_nms_top_n_test": 60, "rpn_post_nms_top_n_test": 60}
    built = detection.maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=3,
        box_score_thresh=0.1,
        box_detections_per_img=25,
        **sizes,
    )
    return built.eval()


@pytest.fixture(scope="module")
def weights(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "net.pth"
    torch.save({"model": {f"module.{name}": value for name, value in network.state_dict().items()}}, path)
    return path


def _windows(count: int, channels: int = 3) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    windows = np.random.default_rng(5).random((count, channels, 1, 96, 128), np.float32)
    return windows, np.ones((count, 1, 96, 128), bool)


def _load(weights: Path, **changes: object) -> Any:
    return load_model(resolve_model(f"maskrcnn:{weights}", OPTIONS | changes)[1])


@pytest.fixture(scope="module")
def model(weights: Path) -> Any:
    return _load(weights)


def _full(answer: WindowMasks) -> NDArray[np.bool_]:
    masks = np.zeros((len(answer.labels), 1, 96, 128), bool)
    for mask, (box, crop) in zip(masks, answer.crops, strict=True):
        mask[box.within((0, 0, 0))] = crop
    return masks


def test_answer_equals_torchvisions_own_forward(network: Any, model: Any) -> None:
    windows, valid = _windows(2)
    with torch.inference_mode():
        expected = network([torch.from_numpy(window[:, 0]) for window in windows])
    answers = model.predict(windows, valid)
    assert len(answers) == 2
    for theirs, ours in zip(expected, answers, strict=True):
        masks = (theirs["masks"] >= 0.5).numpy()
        there = masks.any(axis=(1, 2, 3))
        assert there.sum() > 10 and ours.capped
        assert np.array_equal(ours.labels, theirs["labels"].numpy()[there] - 1)
        assert np.allclose(ours.scores, theirs["scores"].numpy()[there], atol=1e-6)
        assert np.array_equal(_full(ours), masks[there])


def test_groups_of_masks_change_nothing(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    windows, valid = _windows(1)
    (whole,) = model.predict(windows, valid)
    monkeypatch.setattr(torch_maskrcnn, "MASK_GROUP", 7)
    (grouped,) = model.predict(windows, valid)
    assert np.array_equal(whole.labels, grouped.labels) and np.array_equal(whole.scores, grouped.scores)
    # Convolutions of another batch size may round differently at a mask's very edge.
    assert (_full(whole) != _full(grouped)).mean() < 1e-4


def test_keep_drops_the_other_classes_and_renumbers(weights: Path) -> None:
    windows, valid = _windows(1)
    many = {"detections_per_image": 80}
    (both,) = _load(weights, **many).predict(windows, valid)
    chosen = _load(weights, **many, keep="boat")
    (boats,) = chosen.predict(windows, valid)
    assert chosen.manifest.classes == ("boat",) and boats.capped == both.capped
    assert set(both.labels) == {0, 1} and set(boats.labels) == {0}
    assert np.array_equal(boats.scores, both.scores[both.labels == 1])


def test_one_band_is_shown_three_times_and_other_numbers_are_refused(model: Any) -> None:
    windows, valid = _windows(1, channels=1)
    (one,), (three,) = model.predict(windows, valid), model.predict(np.repeat(windows, 3, axis=1), valid)
    assert np.array_equal(one.scores, three.scores) and np.array_equal(_full(one), _full(three))
    with pytest.raises(TileError, match="one band or three, this image has 4") as caught:
        model.predict(*_windows(1, channels=4))
    assert caught.value.reason == "wrong_bands" and "--set model.bands=[" in caught.value.hint


def test_values_of_invalid_pixels_do_not_matter_and_nan_among_valid_ones_is_refused(model: Any) -> None:
    windows, valid = _windows(1)
    valid[:, :, :, 100:] = False
    (clean,) = model.predict(windows, valid)
    windows[..., 100:] = np.nan
    (dirty,) = model.predict(windows, valid)
    assert np.array_equal(clean.scores, dirty.scores) and np.array_equal(_full(clean), _full(dirty))
    windows[..., 3] = np.nan
    with pytest.raises(TileError, match="finite numbers in the image's valid pixels"):
        model.predict(windows, valid)


def test_nothing_above_the_score_threshold_is_an_empty_answer_that_is_not_capped(weights: Path) -> None:
    (answer,) = _load(weights, score_threshold=0.99).predict(*_windows(1))
    assert (len(answer.labels), len(answer.scores), len(answer.crops), answer.capped) == (0, 0, 0, False)


def test_windows_are_resized_only_on_request(model: Any, weights: Path) -> None:
    windows, _ = _windows(1)
    image = torch.from_numpy(windows[0, :, 0])
    own, resized = (m._network.transform([image])[0] for m in (model, _load(weights, resize=True)))
    assert own.image_sizes == [(96, 128)] and resized.image_sizes == [(800, 1066)]
    assert torch.equal(own.tensors[0], model._network.transform.normalize(image))


def test_names_must_fit_the_weights(weights: Path) -> None:
    for changes, message in (
        ({"classes": ["car"]}, "classes has 1 names, the weights have 2 classes"),
        ({"classes": None}, "the weights tell 2 classes apart; name them"),
        ({"keep": ["bus"]}, "no class bus; there are car, boat"),
    ):
        with pytest.raises(SpecError, match=message):
            resolve_model(f"maskrcnn:{weights}", OPTIONS | changes)
    with pytest.raises(SpecError, match=r"the other architecture; use --model maskrcnn:"):
        resolve_model(f"maskrcnn_v2:{weights}", OPTIONS)


def test_files_that_are_not_tensors_are_refused_unexecuted(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    torch.save(Trap(), tmp_path / "trap.pth")
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "net.safetensors").write_bytes(b"\0" * 16)
    for name, message in (
        ("trap.pth", "cannot be read as tensors only"),
        ("other.pth", "not a torchvision Mask R-CNN"),
        ("text.pth", "cannot be read as tensors only"),
        ("net.safetensors", "safetensors"),
    ):
        with pytest.raises(SpecError, match=message):
            resolve_model(f"maskrcnn:{tmp_path / name}", OPTIONS)
    assert not (tmp_path / "executed").exists()


def test_second_version_loads_and_runs(tmp_path: Path) -> None:
    built = detection.maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=3)
    torch.save(built.state_dict(), tmp_path / "v2.pth")
    manifest, spec = resolve_model(
        f"maskrcnn_v2:{tmp_path / 'v2.pth'}", OPTIONS | {"window": [64, 64], "keep": ["car"]}
    )
    windows = np.zeros((1, 3, 1, 64, 64), np.float32)
    (answer,) = load_model(spec).predict(windows, np.ones((1, 1, 64, 64), bool))
    assert manifest.name == "maskrcnn_v2" and set(answer.labels) <= {0}


def test_weights_by_name_bring_cocos_names_and_need_the_network_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    manifest, spec = resolve_model("maskrcnn_resnet50_fpn_v2:COCO_V1", {"keep": "car, truck"}, fetch=False)
    assert manifest.classes == ("car", "truck") and spec.weights_digest == "73cbd019"
    assert len(resolve_model("maskrcnn_resnet50_fpn:DEFAULT", {}, fetch=False)[0].classes) == 80
    with pytest.raises(SpecError, match=r"coco-73cbd019.pth are not in .*no network.*--model maskrcnn_v2:PATH"):
        resolve_model("maskrcnn_resnet50_fpn_v2:COCO_V1", {})
    with pytest.raises(SpecError, match="no Mask R-CNN v1 weights called 'COCO_V9'; it has COCO_V1, DEFAULT"):
        resolve_model("maskrcnn_resnet50_fpn:COCO_V9", {})
    (tmp_path / "hub" / "checkpoints" / "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth").write_bytes(b"torn")
    for load in (lambda: resolve_model("maskrcnn_resnet50_fpn_v2:COCO_V1", {}), lambda: load_model(spec)):
        with pytest.raises(SpecError, match=r"expected a sha256 that begins with 73cbd019, found \w+; delete the file"):
            load()
