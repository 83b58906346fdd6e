"""The user's own class: how its file travels, what is checked before a run, what happens when it fails."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from schemas.errors import SpecError, TileError
from segworkers.segmenters.base import DenseMaps, DenseProbabilities
from segworkers.segmenters.loading import load_model, resolve_model
from segworkers.segmenters.plugin_code import PluginCode

HEAD = """\
from __future__ import annotations
import pickle
from dataclasses import dataclass
import numpy as np

@dataclass
class Level:
    value: int

class Base:
    kind = "dense"
    window = (1, 4, 4)
    overlap = (0, 1, 1)
    classes = ("thing",)

    def __init__(self, device):
        self.device = device

    def predict(self, windows):
        return (windows[:, 0] > 3).astype(np.uint8)
"""
WINDOWS = np.full((1, 1, 1, 4, 4), 5, np.uint8)
VALID = np.zeros((1, 1, 4, 4), bool)


def _write(folder: Path, body: str = "", name: str = "model.py") -> str:
    file = folder / name
    file.write_text(HEAD + dedent(body))
    return f"python:{file}"


def test_file_travels_as_text_and_its_classes_pickle(tmp_path: Path) -> None:
    reference = _write(
        tmp_path,
        """
        class Mine(Base):
            def predict(self, windows):
                level = pickle.loads(pickle.dumps(Level(3)))
                return np.full(windows[:, 0].shape, level == Level(3), np.uint8)
        """,
    )
    manifest, spec = resolve_model(f"{reference}:Mine", {})
    (tmp_path / "model.py").unlink()
    script = (
        "import pickle, sys, numpy as np; from segworkers.segmenters.loading import load_model;"
        "model = load_model(pickle.load(sys.stdin.buffer));"
        "out = model.predict(np.full((1, 1, 1, 4, 4), 5, np.uint8), np.zeros((1, 1, 4, 4), bool));"
        "print(model.manifest.digest, out.classes.sum(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], input=pickle.dumps(spec), capture_output=True, check=True)
    assert done.stdout.decode().split() == [manifest.digest, "16", "False"]
    assert len(pickle.dumps(spec)) < 5000


def test_class_attributes_are_read_without_constructing(tmp_path: Path) -> None:
    reference = _write(
        tmp_path,
        """
        class Heavy(Base):
            bands = ["red", 1]
            normalise = "unit"
            resolution = 0.5
            connectivity = 4
            batch = (1, 2, 2)
            blend = "gaussian"
            name = "heavy net"
            def __init__(self, device):
                raise MemoryError("weights")
        """,
    )
    manifest, spec = resolve_model(f"{reference}:Heavy", {})
    assert (manifest.name, manifest.bands, manifest.normalise) == ("heavy net", ("red", 1), "unit")
    assert (manifest.resolution, manifest.connectivity, manifest.batch) == (0.5, 4, (1, 2, 2))
    assert manifest.blend == "gaussian"
    assert (manifest.context, manifest.spacing, manifest.orientation, manifest.modalities) == (
        (0, 0, 0),
        None,
        None,
        (),
    )
    with pytest.raises(SpecError, match=r"Heavy\(device='cpu'\) raised MemoryError: weights \(.*model.py:\d+\)"):
        load_model(spec)


def test_a_model_for_volumes_declares_what_it_must_be_shown(tmp_path: Path) -> None:
    reference = _write(
        tmp_path,
        """
        class Lesions(Base):
            window = (2, 4, 4)
            context = [1, np.int64(2), 0]
            spacing = np.array([3, 1.5, 1.5])
            orientation = "RAS"
            modalities = ["CT", "PT"]
            def predict(self, windows):
                assert windows.shape[2:] == (4, 8, 4)
                return (windows[:, 0, 1:-1, 2:-2] > 3).astype(np.uint8)
        class Whole(Lesions):
            def predict(self, windows):
                return (windows[:, 0] > 3).astype(np.uint8)
        class Default(Base):
            context, spacing, orientation, modalities = (0, 0, 0), None, None, ()
        """,
    )
    manifest, spec = resolve_model(f"{reference}:Lesions", {})
    assert (manifest.context, manifest.spacing) == ((1, 2, 0), (3.0, 1.5, 1.5))
    assert (manifest.orientation, manifest.modalities) == ("RAS", ("CT", "PT"))
    windows, valid = np.full((1, 1, *manifest.shown), 5, np.int16), np.ones((1, *manifest.shown), bool)
    assert load_model(spec).predict(windows, valid).classes.shape == (1, 2, 4, 4)
    with pytest.raises(TileError, match=r"expected class maps .* of shape \(1, 2, 4, 4\), found shape \(1, 4, 8, 4\)"):
        load_model(resolve_model(f"{reference}:Whole", {})[1]).predict(windows, valid)
    plain = resolve_model(f"{reference}:Default", {})[0]
    assert replace(plain, name="Base", digest="") == replace(resolve_model(f"{reference}:Base", {})[0], digest="")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("context = (1, 1)", "context: expected three whole numbers"),
        ("context = (0, -1, 0)", "context: expected three whole numbers"),
        ("spacing = (3, 1)", "spacing: expected three numbers"),
        ("spacing = (3, 1, 0)", "spacing: expected three numbers"),
        ("spacing = 3.0", "spacing: expected three numbers"),
        ("spacing = (3, 1, None)", "spacing: expected three numbers"),
        ("orientation = 1", "orientation: expected three letters"),
        ("orientation = 'LRS'", "orientation must be one of L R, one of P A and one of S I"),
        ("orientation = 'LPSS'", "orientation must be one of L R"),
        ("orientation = 'SPL'", "in this order, such as LPS, got 'SPL'"),
        ("modalities = 'CT'", "modalities: expected a list or tuple"),
        ("modalities = [1]", "modalities: expected a list or tuple"),
        ("stuff = 'water'", "stuff: expected a list or tuple"),
        ("stuff = ['water']", "stuff must be among the classes"),
    ],
)
def test_what_a_model_for_volumes_cannot_mean_is_refused(tmp_path: Path, line: str, problem: str) -> None:
    reference = _write(tmp_path, f"class Odd(Base):\n    {line}\n")
    with pytest.raises(SpecError, match=re.escape(problem)):
        resolve_model(f"{reference}:Odd", {})


def test_instance_attributes_and_properties_are_read_from_an_instance_on_the_cpu(tmp_path: Path) -> None:
    reference = _write(
        tmp_path,
        """
        class Sized(Base):
            def __init__(self, device, side="4"):
                assert device == "cpu"
                self.side = int(side)
            @property
            def window(self):
                return (1, self.side, self.side)
        """,
    )
    assert resolve_model(f"{reference}:Sized", {"side": 6})[0].window == (1, 6, 6)


def test_instance_that_declares_something_else_than_its_class_is_refused(tmp_path: Path) -> None:
    reference = _write(
        tmp_path,
        """
        class Shifty(Base):
            def __init__(self, device):
                self.overlap = (0, 2, 2)
        """,
    )
    _, spec = resolve_model(f"{reference}:Shifty", {})
    with pytest.raises(SpecError, match=r"overlap is \(0, 1, 1\) on the class but \(0, 2, 2\) on an instance"):
        load_model(spec)


def test_valid_is_passed_exactly_where_predict_names_it(tmp_path: Path) -> None:
    reference = _write(
        tmp_path,
        """
        class Masked(Base):
            def predict(self, windows, valid):
                return super().predict(windows) * valid
        class Optional(Base):
            def predict(self, windows, valid=None):
                return np.full(windows[:, 0].shape, valid is not None, np.uint8)
        """,
    )
    totals = []
    for name in ("Base", "Masked", "Optional"):
        answer = load_model(resolve_model(f"{reference}:{name}", {})[1]).predict(WINDOWS, VALID)
        totals.append(int(answer.classes.sum()))
    assert totals == [16, 0, 16]


def test_all_problems_of_a_class_come_at_once(tmp_path: Path) -> None:
    reference = _write(
        tmp_path,
        """
        class Bad:
            kind = "boxes"
            window = (64, 64)
            overlap = (0, -1, 0)
            classes = "cell"
            resolution = 0
            connectivity = True
            blend = "mean"
            bands = "red"
            def __init__(self, size, gpu=None): ...
            def predict(self, windows, valid, extra): ...
        class Empty:
            def __init__(self, device): ...
        class Wide(Base):
            overlap = (0, 3, 3)
        """,
    )
    with pytest.raises(SpecError) as caught:
        resolve_model(f"{reference}:Bad", {"colour": 1}, device="tpu", threads=0)
    text = str(caught.value)
    for part in (
        "kind: expected 'dense' or 'instance', found 'boxes'",
        "window: expected three whole numbers (z, y, x) of at least 1, found (64, 64)",
        "overlap: expected three",
        "classes: expected a list or tuple of names",
        "resolution: ",
        "connectivity: ",
        "blend: expected 'none' or 'gaussian', found 'mean'",
        "bands: ",
        "must take `device`",
        "takes no option 'colour'; it takes gpu, size",
        "the constructor needs 'size'",
        "it needs windows, extra",
        "model.device: ",
        "model.threads: ",
    ):
        assert part in text
    assert len(caught.value.problems) == 14
    with pytest.raises(SpecError, match="missing predict") as caught:
        resolve_model(f"{reference}:Empty", {})
    with pytest.raises(SpecError, match="overlap must lie between 0 and half the window"):
        resolve_model(f"{reference}:Wide", {})


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "Missing", "has no class 'Missing'; it has Level, Base"),
        ("import not_there", "Base", "ModuleNotFoundError.*not_there.*only this one file travels"),
        ("1 / 0", "Base", r"ZeroDivisionError: division by zero \(.*model.py:\d+\)"),
        ("def broken(:", "Base", "SyntaxError"),
    ],
)
def test_file_that_cannot_be_used_is_refused_with_the_place(tmp_path: Path, text: str, name: str, message: str) -> None:
    before = set(sys.modules)
    reference = _write(tmp_path, text)
    with pytest.raises(SpecError, match=message):
        resolve_model(f"{reference}:{name}", {})
    assert name == "Missing" or not [m for m in set(sys.modules) - before if m.startswith("segworkers_plugin")]


def test_exception_in_predict_fails_the_tile_and_points_at_the_users_line(tmp_path: Path) -> None:
    reference = _write(
        tmp_path,
        """
        class Raises(Base):
            def predict(self, windows):
                return self.helper(windows)
            def helper(self, windows):
                return windows.reshape(7)  # here
        """,
    )
    model = load_model(resolve_model(f"{reference}:Raises", {})[1])
    (tmp_path / "model.py").write_text("# edited since")
    with pytest.raises(
        TileError, match=r"Raises: predict raised ValueError: .*model.py:\d+: return windows.*# here"
    ) as caught:
        model.predict(WINDOWS, VALID)
    assert caught.value.reason == "model_failed"


def test_bad_answer_names_the_model(tmp_path: Path) -> None:
    reference = _write(
        tmp_path,
        """
        class Signed(Base):
            def predict(self, windows):
                return windows[:, 0].astype(int)
        """,
    )
    model = load_model(resolve_model(f"{reference}:Signed", {})[1])
    with pytest.raises(TileError, match="Signed: prediction: expected an unsigned integer"):
        model.predict(WINDOWS, VALID)


def test_blending_that_a_job_asks_for_needs_probabilities(tmp_path: Path) -> None:
    reference = _write(
        tmp_path,
        """
        class Soft(Base):
            def predict(self, windows):
                return np.stack([windows[:, 0] <= 3, windows[:, 0] > 3], axis=1).astype(np.float32)
        """,
    )
    for name in ("Base", "Soft"):
        manifest, spec = resolve_model(f"{reference}:{name}", {})
        plain = load_model(spec).predict(WINDOWS, VALID)
        assert isinstance(plain, DenseMaps) and (plain.classes == 1).all()
        model = load_model(spec, replace(manifest, blend="gaussian"))
        if name == "Base":
            with pytest.raises(TileError, match="Base: prediction: expected floating-point probabilities"):
                model.predict(WINDOWS, VALID)
        else:
            blended = model.predict(WINDOWS, VALID)
            assert isinstance(blended, DenseProbabilities) and (blended.values[:, 1] == 1).all()


def test_digest_follows_code_options_and_files_but_not_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = """
        class Tuned(Base):
            def __init__(self, device, level=3, weights=""):
                self.text = open(weights).read() if weights else ""
        """
    (tmp_path / "elsewhere").mkdir()
    weights = tmp_path / "weights.bin"
    weights.write_text("one")
    reference, copy = _write(tmp_path, body), _write(tmp_path / "elsewhere", body)

    def digest(ref: str, options: dict[str, object]) -> str:
        return resolve_model(f"{ref}:Tuned", options)[0].digest

    plain = digest(reference, {})
    assert plain == digest(copy, {})
    assert (
        len(
            {plain, digest(reference, {"level": 4}), digest(_write(tmp_path, body + "        # new\n", "other.py"), {})}
        )
        == 3
    )

    monkeypatch.chdir(tmp_path)
    first = digest(reference, {"weights": "./weights.bin"})
    assert first == digest(reference, {"weights": str(weights)})
    _, spec = resolve_model(f"{reference}:Tuned", {"weights": "weights.bin"})
    monkeypatch.chdir("/")
    load_model(spec)
    weights.write_text("two")
    assert digest(reference, {"weights": str(weights)}) != first
    with pytest.raises(SpecError, match=r"weights.bin is not the file that the run was planned with"):
        load_model(spec)


def test_files_that_a_class_names_belong_to_its_identity(tmp_path: Path) -> None:
    weights = tmp_path / "net.bin"
    reference = _write(tmp_path, f"class Net(Base):\n    files = {str(weights)!r}\n")
    with pytest.raises(SpecError, match=r"cannot read .*net.bin"):
        resolve_model(f"{reference}:Net", {})
    digests = set()
    for text in ("one", "two"):
        weights.write_text(text)
        digests.add(resolve_model(f"{reference}:Net", {})[0].digest)
    assert len(digests) == 2


def test_installed_package_travels_by_name_and_all_its_files_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "my_cells"
    (package / "nets").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "nets" / "__init__.py").write_text("")
    (package / "nets" / "dense.py").write_text(HEAD + "from my_cells.layers import LIMIT\n")
    (package / "layers.py").write_text("LIMIT = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    reference = "python:my_cells.nets.dense:Base"
    manifest, spec = resolve_model(reference, {})
    assert isinstance(spec.source, PluginCode) and spec.source.source is None
    assert load_model(pickle.loads(pickle.dumps(spec))).predict(WINDOWS, VALID).classes.sum() == 16
    (package / "layers.py").write_text("LIMIT = 4\n")
    assert resolve_model(reference, {})[0].digest != manifest.digest
    with pytest.raises(SpecError, match=r"no module my_cells\.gone"):
        resolve_model("python:my_cells.gone:Base", {})
    for name in ("sys", "zipimport"):  # built into the interpreter, and frozen with it
        with pytest.raises(SpecError, match=f"{name} .* is no file of Python code"):
            resolve_model(f"python:{name}:Base", {})


def test_torch_users_get_the_devices_that_torch_sees(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    reference = _write(
        tmp_path,
        """
        import torch
        class Torch(Base):
            def predict(self, windows):
                return (torch.from_numpy(windows[:, 0]).to(self.device) > 3).to(torch.uint8)
        """,
    )
    _, spec = resolve_model(f"{reference}:Torch", {})
    assert load_model(spec).predict(WINDOWS, VALID).classes.sum() == 16
    _, spec = resolve_model(f"{reference}:Torch", {}, device="cuda:63")
    with pytest.raises(SpecError, match=r"model\.device=cuda:63: torch sees"):
        load_model(spec)
