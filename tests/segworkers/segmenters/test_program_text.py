"""The code of TorchScript files is split as torch splits it, and pickles name no foreign classes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from segworkers.segmenters.program_text import (
    names_of,
    problem_of_code,
    problem_of_operator,
    problem_of_pickle,
)

HARMLESS = (
    "x = torch.relu(y)",
    "  ops : __torch__.torch.nn.modules.activation.ReLU",
    'a = (d).ops\nb = getattr(d, "0")',
    "x = 5.\ny = torch.mul(x, 1.0000000000000001e-05)",
    'ops.prim.RaiseException("it\\\'s torch . from_file \\"ops\\"")',
    "f = __torch__.torch.classes.quantized.LinearPackedParamsBase",
    "x = ops.torchvision.nms(a, b, 0.5)",
)
HARMFUL = (
    "x = torch.from_file(y)",
    "torch.save(x, y)",
    "t = torch",
    "t = ops",
    "t = ops.aten",
    "f(torch, x)",
    "x = 1.\ntorch.from_file(y)",
    "x = 1.torch.relu(y)",
    "x = torch .relu(y)",
    "x = torch. relu(y)",
    "x = torch\\\n.relu(y)",
    "x = 'a'",
    'x = """a"""',
    'x = r"a"',
    "x = “a”",
    "x = ops.image.read_file(y)",
    "x = ops.prim.rpc_sync(y)",
    "f = __torch__.torch.classes.c10d.ProcessGroup",
    "f = __torch__.torch",
    "f = __torch__",
)


@pytest.mark.parametrize("code", HARMLESS)
def test_what_computes_passes(code: str) -> None:
    assert problem_of_code(code.encode()) is None


@pytest.mark.parametrize("code", HARMFUL)
def test_what_does_more_or_is_written_otherwise_does_not(code: str) -> None:
    assert problem_of_code(code.encode())


def test_names_are_whole_and_texts_are_none() -> None:
    assert list(names_of('a.b1 = (c_)[0].d("e.f", 2., g=-1e5)')) == ["a.b1", "c_", ".d", "g", "e5"]


@pytest.mark.parametrize(
    ("name", "schema", "bad"),
    [
        ("aten::relu", "aten::relu(Tensor self) -> Tensor", False),
        ("prim::Constant", "(no schema)", False),
        ("aten::pad", "aten::pad(Tensor self, SymInt[] pad, str mode) -> Tensor", False),
        ("aten::new", "aten::new(str filename, Tensor x) -> Tensor", True),
        ("prim::rpc_async", "", True),
        ("image::read_file", "", True),
    ],
)
def test_operators_are_known_by_namespace_name_and_arguments(name: str, schema: str, bad: bool) -> None:
    assert (problem_of_operator(name, schema) is not None) == bad


def test_no_operator_of_the_namespaces_takes_an_address_unnoticed() -> None:
    """Of those that torch registers, these alone take the name of a file or a machine."""
    schemas = [each for each in torch._C._jit_get_all_schemas() if each.name.startswith(("aten::", "torchvision::"))]
    refused = {each.name for each in schemas if problem_of_operator(each.name, str(each))}
    assert refused == {"aten::from_file", "aten::save"} and len(schemas) > 3000


@pytest.mark.parametrize(
    "pickled",
    [
        b"c__torch__.torch.classes.c10d\nProcessGroup\n",
        b"c__torch__\ntorch.classes.x.Y\n",
        b"ctorch.distributed.rpc\nrref\n",
    ],
)
def test_foreign_classes_in_pickles(pickled: bytes) -> None:
    assert problem_of_pickle(b"\x80\x02" + pickled + b".")
    assert problem_of_pickle(b"\x80\x02c__torch__.torch.classes.quantized\nLinearPackedParamsBase\n.") is None


class Suppressed(nn.Module):
    """Calls an operator of torchvision."""

    def forward(self, boxes: Tensor, scores: Tensor) -> Tensor:
        return torchvision.ops.nms(boxes, scores, 0.5)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_torchvisions_operators_are_there_in_a_fresh_process(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Suppressed()), str(tmp_path / "model.pt"))
    script = (
        "from pathlib import Path; from segworkers.segmenters.torch_exported import script_of;"
        f"print(script_of(Path({str(tmp_path / 'model.pt')!r}), 'cpu').code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert "nms" in done.stdout
