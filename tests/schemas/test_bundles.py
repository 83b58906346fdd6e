"""What a bundle's description must be; by itself, without files."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.bundles import Code, ModelBundle, WeightsFile, WheelFile
from tests.model_bundles import CARD, CODES, MANIFEST

SHA = "0" * 64
WHEEL = WheelFile(filename="a-1.0-py3-none-any.whl", sha256=SHA, size=5)
BUNDLE = ModelBundle(name="bright", family="logistic", manifest=MANIFEST, card=CARD)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://example.org/a/w.safetensors?signature=1", "w.safetensors"),
        ("s3://bucket/key/w.pt", "w.pt"),
        ("torchvision:MaskRCNN_ResNet50_FPN_Weights.COCO_V1", "MaskRCNN_ResNet50_FPN_Weights.COCO_V1"),
    ],
)
def test_without_a_file_the_name_is_the_end_of_the_address(address: str, name: str) -> None:
    assert WeightsFile(uri=address, sha256=SHA, size=3).name == name
    assert WeightsFile(uri=address, file="other/w.pt", sha256=SHA, size=3).name == "other/w.pt"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "found neither"),
        ({"file": "w"}, "sha256: expected 64"),
        ({"file": "w", "sha256": SHA.replace("0", "A"), "size": 1}, "lower case"),
        ({"file": "w", "sha256": SHA}, "size: expected bytes"),
        ({"file": "w", "sha256": SHA, "size": 0}, "size: expected bytes"),
        ({"uri": "ftp://a/b", "sha256": SHA, "size": 1}, "begins with https"),
        ({"uri": "https:a/b", "sha256": SHA, "size": 1}, "expected https://"),
        ({"uri": "https://a/w"}, "sha256: expected 64"),
        ({"uri": "torchvision:COCO_V1"}, "ENUM.MEMBER"),
        ({"uri": "package:a/b", "sha256": SHA, "size": 1, "wheel": WHEEL}, "NAME==VERSION"),
        ({"uri": "package:a==1.0/b/w.pt", "sha256": SHA, "size": 1}, "expected `wheel`"),
        ({"file": "w", "sha256": SHA, "size": 1, "wheel": WHEEL}, "expected `wheel`"),
    ],
)
def test_files_are_pinned_and_addresses_known(entry: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WeightsFile(**entry)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../w", "a/../../w", "/w", "a//w", "a/./w", "a/", "C:w", "C:\\w", "a\\w", "a\0b", "model.json"],
)
def test_names_cannot_leave_the_bundle(name: str) -> None:
    with pytest.raises(ValueError, match="expected a path inside the bundle"):
        WeightsFile(file=name, sha256=SHA, size=1)


@given(st.lists(st.text("ab.\\/:C~", min_size=0, max_size=4), max_size=4).map("/".join))
def test_names_that_pass_stay_inside_a_folder(name: str) -> None:
    from pathlib import PurePosixPath

    try:
        entry = WeightsFile(file=name, sha256=SHA, size=1)
    except ValueError:
        return
    path = PurePosixPath("/bundle") / entry.name
    assert path.is_relative_to("/bundle") and ".." not in path.parts and str(path) == f"/bundle/{name}"


def test_torchvisions_names_carry_a_hash_of_their_own() -> None:
    assert WeightsFile(uri="torchvision:Some_Weights.COCO_V1", file="w.pth").sha256 is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Bright"}, "lower-case"),
        ({"name": "../x"}, "lower-case"),
        ({"family": "Star UNet"}, "family: expected"),
        ({"codes": CODES | {"dark": CODES["bright"]}}, "no class dark; there are bright"),
        ({"weights": (WeightsFile(file="w", sha256=SHA, size=1),) * 2}, "distinct files, found w, w"),
    ],
)
def test_a_bundle_refuses_what_does_not_fit(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(BUNDLE, **changes)  # pyright: ignore[reportArgumentType]


def test_cards_say_something() -> None:
    for name in ("summary", "licence", "attribution", "training_data", "accuracy", "use", "limits"):
        with pytest.raises(ValueError, match=f"{name}: expected a text"):
            replace(CARD, **{name: "  "})
    with pytest.raises(ValueError, match="one line"):
        replace(CARD, summary="a\nb")
    assert replace(CARD, task="", sources=()) == CARD


def test_codes_fit_into_dicom() -> None:
    with pytest.raises(ValueError, match="value: expected 1 to 16 characters, found 17"):
        Code(value="1" * 17, scheme="SCT", meaning="x")
    with pytest.raises(ValueError, match="meaning: expected 1 to 64 characters, found 0"):
        Code(value="1", scheme="SCT", meaning="")
