"""TorchScript and torch.export files answer as the network they were made of, and refuse to do anything else."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from schemas.errors import SpecError, TileError
from schemas.models import ModelManifest
from segworkers.segmenters import torch_exported
from segworkers.segmenters.base import DenseProbabilities, Segmenter
from segworkers.segmenters.families import load_family, plan_family
from segworkers.segmenters.program_checks import check_exported, check_torchscript

FILES = {"torchscript": "model.pt", "torch-export": "model.pt2"}
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


class Net(nn.Module):
    """Two convolutions: what it says of a pixel depends on the 5 x 5 around it."""

    def __init__(self, channels: int = 2, outputs: int = 3) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(channels, 6, 3, padding=1), nn.Conv2d(6, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(x)))


class Twin(nn.Module):
    """Its answer under names."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"other": x, "scores": self.net(x)}


def save(network: nn.Module, path: Path, example: Tensor) -> None:
    """The network in the format of the file's name."""
    network.eval()
    if path.suffix == ".pt":
        torch.jit.save(torch.jit.script(network), str(path))
    else:
        program = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
        torch.export.save(program, str(path))


def manifest(**more: Any) -> ModelManifest:
    settings: dict[str, Any] = {"kind": "dense", "window": (1, 16, 24), "overlap": (0, 0, 0), "classes": ("a", "b")}
    return ModelManifest(name="m", **{**settings, **more})


def loaded(
    family: str, folder: Path, network: nn.Module | None = None, of: ModelManifest | None = None, **parameters: Any
) -> Segmenter:
    of = of or manifest()
    torch.manual_seed(0)
    z, y, x = of.shown
    save(network or Net(), folder / FILES[family], torch.zeros(2, 2, y, x) if z == 1 else torch.zeros(2, 1, z, y, x))
    parameters = {"head": {"type": "semantic"}, **parameters}
    assert plan_family(family, of, parameters, "bundle") == of
    return load_family(family, of, parameters, folder, "cpu")


def windows(count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    values = np.random.default_rng(0).random((count, 2, 1, 16, 24)).astype(np.float32)
    return values, np.ones((count, 1, 16, 24), bool)


def truth(values: np.ndarray, network: nn.Module | None = None) -> np.ndarray:
    torch.manual_seed(0)
    network = (network or Net()).eval()
    with torch.inference_mode():
        return torch.softmax(network(torch.from_numpy(values[:, :, 0])), 1).numpy()[:, :, None]


@pytest.mark.parametrize("family", FILES)
def test_it_answers_as_the_network(family: str, tmp_path: Path) -> None:
    model = loaded(family, tmp_path)
    values, valid = windows()
    answer = model.predict(values, valid)
    assert isinstance(answer, DenseProbabilities) and model.manifest == manifest()
    np.testing.assert_allclose(answer.values, truth(values), atol=1e-6)
    again = [model.predict(values, valid) for _ in range(4)]
    assert all((each.values == answer.values).all() for each in again if isinstance(each, DenseProbabilities)), (
        "the first calls and the later ones say the same, bit for bit"
    )


@pytest.mark.parametrize("family", FILES)
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_window_does_not_depend_on_the_networks_batch(family: str, batch: int, tmp_path: Path) -> None:
    model = loaded(family, tmp_path, input={"batch": batch})
    values, valid = windows()
    answer = model.predict(values, valid)
    assert isinstance(answer, DenseProbabilities)
    np.testing.assert_allclose(answer.values, truth(values), atol=1e-6)


def test_values_are_scaled_filled_repeated_and_turned(tmp_path: Path) -> None:
    class Channels(nn.Module):
        def forward(self, x: Tensor) -> Tensor:  # (b, x, y, c)
            assert x.shape[-1] == 2
            return torch.cat([x, x[..., :1] * 0 - 1.0], dim=-1)

    shown = {"axes": "bxyc", "range": [0, 200, 0, 1], "mean": 0.5, "std": [0.25], "fill": [-2.0, -3.0], "repeat": 2}
    parameters = {"head": {"type": "semantic", "activation": "none"}, "input": shown}
    save(Channels(), tmp_path / "model.pt", torch.zeros(1, 24, 16, 2))
    model = load_family("torchscript", manifest(), parameters, tmp_path, "cpu")
    values = np.random.default_rng(0).integers(0, 256, (1, 1, 1, 16, 24)).astype(np.uint8)
    valid = np.random.default_rng(1).random((1, 1, 16, 24)) > 0.2
    answer = model.predict(values, valid)
    assert isinstance(answer, DenseProbabilities)
    expected = np.where(
        valid[:, None], (np.minimum(values / 200, 1) - 0.5) / 0.25, np.array([-2.0, -3.0]).reshape(2, 1, 1, 1)
    )
    np.testing.assert_allclose(answer.values[:, :2], expected, atol=1e-5)


def test_context_is_shown_and_not_answered_for(tmp_path: Path) -> None:
    of = manifest(window=(1, 12, 16), context=(0, 2, 4))
    model = loaded("torchscript", tmp_path, of=of)
    values, valid = windows()
    answer = model.predict(values, valid)
    assert isinstance(answer, DenseProbabilities)
    np.testing.assert_allclose(answer.values, truth(values)[..., 2:-2, 4:-4], atol=1e-6)


def test_volumes_in_the_order_x_y_z(tmp_path: Path) -> None:
    of = manifest(window=(4, 6, 8))
    torch.manual_seed(0)
    network = nn.Conv3d(1, 3, 3, padding=1)
    save(network, tmp_path / "model.pt", torch.zeros(1, 1, 8, 6, 4))
    parameters = {"head": {"type": "semantic"}, "input": {"axes": "bcxyz"}}
    values = np.random.default_rng(0).random((2, 1, 4, 6, 8)).astype(np.float32)
    answer = load_family("torchscript", of, parameters, tmp_path, "cpu").predict(values, np.ones((2, 4, 6, 8), bool))
    with torch.inference_mode():
        turned = torch.from_numpy(values.transpose(0, 1, 4, 3, 2).copy())
        expected = torch.softmax(network(turned), 1).numpy().transpose(0, 1, 4, 3, 2)
    assert isinstance(answer, DenseProbabilities)
    np.testing.assert_allclose(answer.values, expected, atol=1e-6)


@pytest.mark.parametrize("family", FILES)
def test_outputs_by_name(family: str, tmp_path: Path) -> None:
    model = loaded(family, tmp_path, Twin(), outputs={"scores": "scores"})
    values, valid = windows()
    answer = model.predict(values, valid)
    torch.manual_seed(0)
    assert isinstance(answer, DenseProbabilities)
    missing = loaded(family, tmp_path, Twin(), outputs={"scores": "logits"})
    with pytest.raises(TileError, match="expected output 'logits', found other, scores"):
        missing.predict(values, valid)


def test_a_detector_of_torchvision_takes_a_list(tmp_path: Path) -> None:
    class Detector(nn.Module):
        def forward(self, images: list[Tensor]) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
            found: list[dict[str, Tensor]] = []
            for image in images:
                masks = (image[:1] > 0.5).to(torch.float32)[None]
                box = torch.tensor([[0.0, 0.0, 24.0, 16.0]])
                one = {"boxes": box, "labels": torch.tensor([2]), "scores": torch.tensor([0.75]), "masks": masks}
                found.append(one)
            losses: dict[str, Tensor] = {}
            return losses, found

    save(Detector(), tmp_path / "model.pt", torch.zeros(1))
    of = manifest(kind="instance")
    outputs = {role: role for role in ("boxes", "labels", "scores", "masks")}
    parameters = {"head": {"type": "maskrcnn"}, "input": {"as_list": True}, "outputs": outputs}
    values, valid = windows()
    answers = load_family("torchscript", of, parameters, tmp_path, "cpu").predict(values, valid)
    assert isinstance(answers, list) and len(answers) == 3
    for window, answer in zip(values, answers, strict=True):
        ((box, crop),) = answer.crops
        assert answer.labels.tolist() == [1] and answer.scores.tolist() == [0.75]
        assert crop.sum() == (window[0, 0] > 0.5).sum() and crop.shape == box.shape


def test_a_network_that_cannot_see_such_windows_fails_the_windows(tmp_path: Path) -> None:
    model = loaded("torchscript", tmp_path)
    with pytest.raises(TileError, match=r"model_failed|failed on shape \(1, 5, 16, 24\)"):
        model.predict(np.zeros((1, 5, 1, 16, 24), np.float32), np.ones((1, 1, 16, 24), bool))


def test_wrong_parameters_are_told_all_at_once() -> None:
    parameters = {"head": {"type": "semantic", "treshold": 1}, "input": {"axes": "bcy", "std": 0}, "hed": 1, "file": 3}
    with pytest.raises(SpecError) as caught:
        plan_family("torchscript", manifest(), parameters, "bundle")
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize("name", ["../model.pt", "other.pt", "/etc/passwd"])
def test_the_file_is_one_of_the_bundle(name: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"parameters\.file"):
        load_family("torchscript", manifest(), {"head": {"type": "semantic"}, "file": name}, tmp_path, "cpu")


class Opens(nn.Module):
    """Reads a file."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.from_file("/etc/hostname", False, 4, dtype=torch.uint8).sum()


def test_torchscript_that_opens_files_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Opens()), str(tmp_path / "model.pt"))
    with pytest.raises(SpecError, match="from_file"):
        load_family("torchscript", manifest(), {"head": {"type": "semantic"}}, tmp_path, "cpu")


@pytest.mark.parametrize("family", FILES)
def test_bytes_that_are_no_network_are_refused(family: str, tmp_path: Path) -> None:
    path = tmp_path / FILES[family]
    path.write_bytes(b"no archive")
    with pytest.raises(SpecError, match="expected a"):
        load_family(family, manifest(), {"head": {"type": "semantic"}}, tmp_path, "cpu")
    torch.save(Net().state_dict(), path)
    with pytest.raises(SpecError, match="expected a"):
        load_family(family, manifest(), {"head": {"type": "semantic"}}, tmp_path, "cpu")


class Bomb:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes], **more: bytes) -> None:
    """The archive with other content: change(name, bytes) gives each entry's."""
    with zipfile.ZipFile(source) as file, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as out:
        for name in file.namelist():
            out.writestr(name, change(name, file.read(name)))
        root = file.namelist()[0].partition("/")[0]
        for name, content in more.items():
            out.writestr(f"{root}/{name}", content)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pt2") / "model.pt2"
    torch.manual_seed(0)
    save(Net(), path, torch.zeros(2, 2, 16, 24))
    check_exported(path)
    return path


def pickled(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def test_pickled_samples_do_not_run(exported: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    bomb = pickled(Bomb(mark))
    rewritten(exported, tmp_path / "model.pt2", lambda name, old: bomb if "sample_inputs" in name else old)
    with pytest.raises(SpecError, match="sample inputs"):
        load_family("torch-export", manifest(), {"head": {"type": "semantic"}}, tmp_path, "cpu")
    assert not mark.exists()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(io.BytesIO(bomb), weights_only=True)


def edited(old: bytes, edit: Callable[[dict[str, Any]], None]) -> bytes:
    document = json.loads(old)
    edit(document)
    return json.dumps(document).encode()


def graph(document: dict[str, Any]) -> dict[str, Any]:
    return document["graph_module"]["graph"]


EDITS: dict[str, tuple[str, Callable[[dict[str, Any]], None], str]] = {
    "an operator of files": (
        "models/model.json",
        lambda d: graph(d)["nodes"][0].update(target="torch.ops.aten.from_file.default"),
        "from_file",
    ),
    "a function of torch": (
        "models/model.json",
        lambda d: graph(d)["nodes"][0].update(target="torch.hub.load"),
        "torch.hub.load",
    ),
    "an operator that calls": (
        "models/model.json",
        lambda d: graph(d)["nodes"][0].update(target="_operator.methodcaller"),
        "methodcaller",
    ),
    "a size that is code": (
        "models/model.json",
        lambda d: d.update(extra={"as_expr": {"expr_str": "__import__('os').getpid()"}}),
        "the size",
    ),
    "a result of a named type": (
        "models/model.json",
        lambda d: d.update(
            out_spec=json.dumps([1, {"type": "collections.namedtuple", "context": "os", "children_spec": []}])
        ),
        "namedtuple",
    ),
    "a pickled weight": (
        "data/weights/model_weights_config.json",
        lambda d: next(iter(d["config"].values())).update(use_pickle=True),
        "pickled tensor",
    ),
}


@pytest.mark.parametrize("what", EDITS)
def test_exported_programs_that_do_more_are_refused(what: str, exported: Path, tmp_path: Path) -> None:
    entry, edit, message = EDITS[what]
    path = tmp_path / "model.pt2"
    rewritten(exported, path, lambda name, old: edited(old, edit) if name.endswith(entry) else old)
    with pytest.raises(SpecError, match=message):
        check_exported(path)


@pytest.mark.parametrize("name", ["data/aotinductor/model/code.so", "data/constants/custom_obj_0", "code/x.py"])
def test_entries_that_may_be_code_are_refused(name: str, exported: Path, tmp_path: Path) -> None:
    rewritten(exported, tmp_path / "model.pt2", lambda _, old: old, **{name: b"x"})
    with pytest.raises(SpecError, match="entry"):
        check_exported(tmp_path / "model.pt2")


def test_guards_are_not_executed(exported: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"open({str(mark)!r}, 'w')"

    def change(name: str, old: bytes) -> bytes:
        return edited(old, lambda document: document.update(guards_code=[code])) if name.endswith("model.json") else old

    rewritten(exported, tmp_path / "model.pt2", change)
    model = load_family("torch-export", manifest(), {"head": {"type": "semantic"}}, tmp_path, "cpu")
    values, valid = windows()
    model.predict(values, valid)
    assert not mark.exists()
    torch.export.load(str(tmp_path / "model.pt2")).module()(torch.from_numpy(values[:, :, 0]))
    assert mark.exists(), "torch itself would have"


def test_several_roots_are_refused(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(exported.read_bytes())
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("other/models/model.json", b"{}")
    with pytest.raises(SpecError, match="several roots"):
        check_exported(path)


def test_operators_of_other_libraries_are_refused(tmp_path: Path) -> None:
    source, path = tmp_path / "a.pt", tmp_path / "b.pt"
    save(Net(), source, torch.zeros(1))
    check_torchscript(source)
    rewritten(
        source, path, lambda name, old: old.replace(b"torch.relu", b"ops.mine.relu") if name.endswith(".py") else old
    )
    with pytest.raises(SpecError, match=r"ops.mine.relu"):
        check_torchscript(path)


class Adds(nn.Module):
    """One line of code, to be replaced."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x)


_LINE = "return torch.relu(x)"
_FROM_FILE = '("{path}", True, 8, dtype=0)'
WAYS: dict[str, str] = {
    "plainly": f"return torch.from_file{_FROM_FILE}",
    "with gaps": f"return torch . from_file{_FROM_FILE}",
    "on another line": f"y = (torch\n      .from_file{_FROM_FILE})\n    return y",
    "under another name": f"t = torch\n    return t.from_file{_FROM_FILE}",
    "by a text": f'return getattr(torch, "from_" "file"){_FROM_FILE}',
    "by a text of a namespace": f'return getattr(ops.aten, "from_file"){_FROM_FILE}',
    "with its namespace": f"return ops.aten.from_file{_FROM_FILE}",
    "after other quotes": f"""y = '"'\n    return torch.from_file{_FROM_FILE} #\"""",
    "after three quotes": f'''y = """ " """\n    return torch.from_file{_FROM_FILE}''',
}


@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_writing_it_touches_a_file(way: str, tmp_path: Path) -> None:
    secret, source, path = tmp_path / "kept", tmp_path / "a.pt", tmp_path / "model.pt"
    secret.write_bytes(b"12345678")
    save(Adds(), source, torch.zeros(1))
    line = WAYS[way].replace("{path}", str(secret)).encode()
    rewritten(source, path, lambda name, old: old.replace(_LINE.encode(), line) if name.endswith(".py") else old)
    with pytest.raises(SpecError, match=r"does not write|names no operator|call of"):
        load_family("torchscript", manifest(), {"head": {"type": "semantic"}}, tmp_path, "cpu")
    torch.jit.load(str(path))(torch.zeros(8, dtype=torch.uint8)).fill_(0)
    assert secret.read_bytes() != b"12345678", "torch itself would have"


@pytest.mark.parametrize(("old", "new"), [(".py", ".PY"), ("/code/", "/Code/"), (".py", "")])
def test_code_under_a_name_that_only_torch_takes_for_code_is_refused(old: str, new: str, tmp_path: Path) -> None:
    save(Opens(), tmp_path / "a.pt", torch.zeros(1))
    with zipfile.ZipFile(tmp_path / "a.pt") as file, zipfile.ZipFile(tmp_path / "model.pt", "w") as out:
        for name in file.namelist():
            if not name.endswith(".debug_pkl"):
                out.writestr(name.replace(old, new), file.read(name))
        out.writestr(f"{file.namelist()[0].partition('/')[0]}/code/zzz.py", b"")
    with pytest.raises(SpecError, match="which may be code"):
        load_family("torchscript", manifest(), {"head": {"type": "semantic"}}, tmp_path, "cpu")


def test_entries_that_differ_by_case_alone_are_refused(tmp_path: Path) -> None:
    save(Adds(), tmp_path / "a.pt", torch.zeros(1))
    rewritten(tmp_path / "a.pt", tmp_path / "model.pt", lambda _, old: old, **{"DATA.PKL": b""})
    with pytest.raises(SpecError, match="doubled entries"):
        check_torchscript(tmp_path / "model.pt")


def two_in_one(shown: bytes, hidden: bytes) -> bytes:
    """One archive of two with the same entries: Python sees the first, torch the second.

    The end of an archive says how long its directory is and where it lies. Python takes what lies before the end,
    torch what lies at the place.
    """
    size, place = (int.from_bytes(hidden[at : at + 4], "little") for at in (len(hidden) - 10, len(hidden) - 6))
    first = int.from_bytes(shown[-6:-2], "little")
    directory, at = bytearray(shown[first:-22]), 0
    assert len(directory) == size and place >= first
    while at < size:
        offset = int.from_bytes(directory[at + 42 : at + 46], "little") + place - first
        directory[at + 42 : at + 46] = offset.to_bytes(4, "little")
        at += 46 + sum(int.from_bytes(directory[at + i : at + i + 2], "little") for i in (28, 30, 32))
    return hidden[: place + size] + shown[:first] + bytes(directory) + hidden[-22:]


def test_torch_reads_the_archive_that_was_checked(tmp_path: Path) -> None:
    secret, path = tmp_path / "kept", tmp_path / "model.pt"
    secret.write_bytes(b"12345678")
    save(Adds(), tmp_path / "a.pt", torch.zeros(1))
    harm = f"return torch.from_file{_FROM_FILE}".replace("{path}", str(secret)).encode()

    def archive(line: bytes) -> bytes:
        rewritten(
            tmp_path / "a.pt", path, lambda name, old: old.replace(_LINE.encode(), line) if name[-3:] == ".py" else old
        )
        return path.read_bytes()

    both = archive(_LINE.encode()), archive(harm)
    path.write_bytes(two_in_one(*both))
    assert "from_file" in torch.jit.load(str(path)).code, "torch itself sees the other"
    assert "relu" in torch_exported.script_of(path, "cpu").code


def test_operators_are_looked_at_again_in_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.jit.save(torch.jit.script(Opens()), str(tmp_path / "model.pt"))
    monkeypatch.setattr(torch_exported, "check_torchscript", lambda *_: None)
    with pytest.raises(SpecError, match=r"aten::from_file in its graph"):
        load_family("torchscript", manifest(), {"head": {"type": "semantic"}}, tmp_path, "cpu")


@pytest.mark.parametrize("config", ["model_WEIGHTS_config.json", "model_other_config.json"])
def test_a_list_of_weights_under_another_name_is_refused(config: str, exported: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(exported) as file, zipfile.ZipFile(tmp_path / "model.pt2", "w") as out:
        for name in file.namelist():
            out.writestr(name.replace("model_weights_config.json", config), file.read(name))
    with pytest.raises(SpecError, match="not a plain tensor"):
        check_exported(tmp_path / "model.pt2")


class Wordy(nn.Module):
    """What legitimate code holds: names and texts that look like more."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.save = nn.Conv2d(2, 2, 1), nn.ModuleDict({"a b": nn.ReLU(), "ops": nn.Tanh()})

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[0] > 0, "it's torch . from_file\n that 'needs' \"torch\" # or ops"
        with torch.no_grad():
            x = self.save["ops"](self.save["a b"](self.read(x))) * 1e-5 + 5.0
        return torch.cat([x, nn.functional.pad(x, (1, 1), value=float("inf"))[..., :1, 1:-1].expand_as(x)], 1)


def test_names_and_texts_that_look_like_more_pass(tmp_path: Path) -> None:
    loaded("torchscript", tmp_path, Wordy())


def test_quantised_networks_pass(tmp_path: Path) -> None:
    dense = nn.Sequential(nn.Linear(24, 24), nn.ReLU())
    loaded("torchscript", tmp_path, torch.ao.quantization.quantize_dynamic(dense))
