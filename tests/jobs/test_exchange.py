"""`segworkers models export`, `import` and `join` write bundles that `segment` can use."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jobs.cli import main
from jobs.exchange import exchange_text, import_choices
from schemas.bundles import Card, ModelBundle
from schemas.errors import SpecError
from schemas.models import ModelManifest
from segworkers.segmenters.bundles import open_bundle, weights_file, write_bundle

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
CARD = Card(
    summary="a test",
    licence="CC0-1.0",
    attribution="nobody",
    training_data="none",
    accuracy="none",
    use="x",
    limits="y",
)
BASE = ModelManifest(name="m", kind="instance", window=(1, 32, 32), overlap=(0, 8, 8), classes=("thing",))


class Same(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Two(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - x, x - 0.5], dim=1)


def bundle(folder: Path, name: str, network: torch.nn.Module, manifest: ModelManifest, head: str) -> str:
    where = folder / name
    where.mkdir()
    torch.jit.save(torch.jit.script(network), str(where / "model.pt"))
    parameters = {"head": {"type": head}}
    files = (weights_file(where, "model.pt"),)
    write_bundle(
        ModelBundle(
            name=name, family="torchscript", manifest=manifest, card=CARD, weights=files, parameters=parameters
        ),
        where,
    )
    return str(where)


def test_join(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detector = bundle(tmp_path, "boxes", Same(), BASE, "labels")
    segmenter = bundle(tmp_path, "inside", Two(), replace(BASE, kind="dense"), "semantic")
    out = str(tmp_path / "pair")
    arguments = [
        "models",
        "join",
        detector,
        "--with",
        segmenter,
        "-o",
        out,
        "--set",
        "margin=0.2",
        "--set",
        "fit=native",
    ]
    assert main(arguments) == 0
    assert "two-stage" in capsys.readouterr().out
    made = open_bundle(out).definition
    assert made.name == "pair" and made.parameters["margin"] == 0.2
    assert "boxes: nobody inside: nobody" in made.card.attribution and made.card.licence == "CC0-1.0"
    assert main(["models", "verify", out]) == 0


def test_a_join_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    """Two detectors do not fit; what is right is then written into the same folder, whatever it is called."""
    detector = bundle(tmp_path, "boxes", Same(), BASE, "labels")
    segmenter = bundle(tmp_path, "inside", Two(), replace(BASE, kind="dense"), "semantic")
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "My Model"
    with pytest.raises(SpecError, match="expected a detector of kind instance"):
        exchange_text("join", detector, out, None, detector, ())
    with pytest.raises(SpecError, match=r"'A B': name: expected lower-case.*--set name="):
        exchange_text("join", detector, out, None, segmenter, ("name=A B",))
    assert sorted(tmp_path.rglob("*")) == before
    exchange_text("join", detector, out, None, segmenter, ())
    assert open_bundle(str(out)).definition.name == "my-model"
    assert {path.name for path in out.iterdir()} == {"model.json", "detector", "segmenter"}
    assert {path.name for path in tmp_path.iterdir()} == {"boxes", "inside", "My Model"}
    with pytest.raises(SpecError, match="new or empty folder"):
        exchange_text("join", detector, out, None, segmenter, ())


def test_import(tmp_path: Path) -> None:
    source = tmp_path / "zoo"
    (source / "configs").mkdir(parents=True)
    (source / "models").mkdir()
    described = {"outputs": {"pred": {"num_channels": 2, "channel_def": {"0": "background", "1": "organ"}}}}
    metadata = {"description": "an organ", "network_data_format": described}
    inference = {
        "preprocessing": [{"_target_": "LoadImaged"}, {"_target_": "Resized"}],
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": 16, "overlap": 0},
        "postprocessing": [{"_target_": "AsDiscreted", "argmax": True}],
    }
    (source / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (source / "configs" / "inference.json").write_text(json.dumps(inference))
    torch.jit.save(torch.jit.script(Two()), str(source / "models" / "model.ts"))
    assert main(["models", "import", str(source), "-o", str(tmp_path / "out")]) == 2
    assert main(["models", "import", str(source), "-o", str(tmp_path / "out"), "--set", "ignore=[Resized]"]) == 0
    assert open_bundle(str(tmp_path / "out")).definition.manifest.window == (16, 16, 16)
    assert main(["models", "verify", str(tmp_path / "out")]) == 0


def test_choices_of_an_import() -> None:
    chosen = import_choices({"window": [64, 64], "classes": "a,b", "network": "definition", "normalise": "unit"})
    assert chosen.window == (1, 64, 64) and chosen.classes == ("a", "b") and chosen.network == "definition"
    with pytest.raises(SpecError, match="did you mean 'window'"):
        import_choices({"windw": 3})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "x", Path("o"), None, None, ()), "needs --to"),
        (("export", None, None, "onnx", None, ()), "needs NAME"),
        (("import", "x", Path("o"), "onnx", None, ()), "takes no --to"),
        (("join", "x", Path("o"), None, None, ()), "needs --with"),
        (("export", "x", Path("o"), "tflite", None, ()), "expected one of onnx"),
        (("export", "x", Path("o"), "onnx", None, ("a=1",)), "nothing to choose"),
        (("import", "x", Path("o"), None, None, ("a",)), "KEY=VALUE"),
        (("import", "x", Path("o"), None, None, ("a=[",)), "not valid YAML"),
    ],
)
def test_what_is_missing_or_too_much_is_told(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        exchange_text(*arguments)  # type: ignore[arg-type]
