"""The import contracts of pyproject.toml catch what they are there to catch.

Each case copies the packages, adds one forbidden import or module, and expects the contract of that name to break.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("jobs", "segworkers", "schemas")

FORBIDDEN = [
    ("Imports go down", "schemas/boxes.py", "import segworkers.store"),
    ("Layers of the driver", "jobs/astray.py", ""),
    ("Layers of what one process can do", "segworkers/astray.py", ""),
    ("Layers of the nouns", "schemas/boxes.py", "import schemas.masks"),
    ("Layers of the engines", "jobs/engines/base.py", "import jobs.engines.host"),
    ("Ray:", "segworkers/worker.py", "def later():\n    import ray"),
    ("rasterio:", "segworkers/rows.py", "import rasterio.features"),
    ("torch and torchvision", "segworkers/segmenters/base.py", "import torchvision"),
    ("pydicom", "segworkers/readers/headers.py", "import pydicom"),
    ("Engines know nothing", "jobs/engines/scheduler.py", "import segworkers.plans"),
    ("Geometry and merge maths", "segworkers/views.py", "import pyarrow"),
    ("Geometry and merge maths", "segworkers/linking.py", "import segworkers.store"),
    ("Only the composition root", "segworkers/worker.py", "import segworkers.readers.geotiff"),
    ("Only the loader", "segworkers/worker.py", "import segworkers.segmenters.threshold"),
    ("Adapters of one port", "segworkers/segmenters/threshold.py", "import segworkers.segmenters.python_model"),
    ("The demo's models", "jobs/demo_models/nuclei.py", "import segworkers.statistics"),
    ("No cycles", "segworkers/objects.py", "import segworkers.assembly"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and their contracts, to be spoiled."""
    folder = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def broken_contracts(folder: Path) -> list[str]:
    """Names of the contracts that the folder breaks."""
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as run; run()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-logo", "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert "Contracts: " in done.stdout, done.stdout + done.stderr
    return re.findall(r"^(.*?) BROKEN(?: \(.*\))?$", done.stdout, re.MULTILINE)


def test_the_code_keeps_every_contract(copy: Path) -> None:
    assert broken_contracts(copy) == []


@pytest.mark.parametrize(("contract", "file", "code"), FORBIDDEN, ids=[f"{f}: {c}" for _, f, c in FORBIDDEN])
def test_what_is_forbidden_is_caught(copy: Path, contract: str, file: str, code: str) -> None:
    path = copy / file
    before = path.read_text() if path.exists() else None
    path.write_text((before or "") + f"\n\n{code}\n")
    try:
        assert [name for name in broken_contracts(copy) if name.startswith(contract)]
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before)
