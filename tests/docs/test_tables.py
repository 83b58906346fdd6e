"""docs/tables.md says what schemas.tables says, and its examples run."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import geopandas
import numpy as np
import polars
import pytest

from jobs.query import run_query
from jobs.results import open_results
from schemas.tables import SCHEMAS

DOCS = Path(__file__).parents[2] / "docs"


def generator() -> ModuleType:
    """docs/make_tables.py as a module."""
    specification = importlib.util.spec_from_file_location("make_tables", DOCS / "make_tables.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


QUERIES = re.findall(r"```sql\n(.*?)\n```", (DOCS / "tables.md").read_text(), re.DOTALL)


def test_the_page_is_what_make_docs_writes() -> None:
    assert (DOCS / "tables.md").read_text() == generator().page(), "run make docs"


def test_every_column_is_described_with_a_unit_where_its_name_has_one() -> None:
    units = {"_m": "metre", "_m2": "square metre", "_deg": "degree", "_px": "pixel", "_s": "second", "_km2": "1/km²"}
    for schema in SCHEMAS.values():
        for field in schema:
            metadata = {key.decode(): value.decode() for key, value in field.metadata.items()}
            assert metadata["description"]
            suffix = "_" + field.name.rpartition("_")[2]
            assert metadata.get("unit") == units.get(suffix, metadata.get("unit")), field.name


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_of_the_page_runs(query: str, finished_run: Path, tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    run_query(open_results(str(finished_run)), query, format="json", limit=None, output=answer)
    rows = json.loads(answer.read_text())
    if query.startswith("SELECT label, count(*)"):
        assert rows == [{"label": "object", "objects": 12}]
    if "bbox" in query or "x_max >" in query:
        assert 0 < len(rows) <= 12
    if "failures" in query:
        assert [(row["scope"], row["reason"]) for row in rows] == [("input", "not_found")]


def test_there_are_queries() -> None:
    assert len(QUERIES) == len(generator().QUERIES) >= 5


def test_other_readers_are_called_as_the_page_says(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "tables.md").read_text(), re.DOTALL)
    generation = json.loads((finished_run / "current.json").read_text())["generation"]
    monkeypatch.chdir(finished_run.parent)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block.replace("GENERATION", generation), names)
    objects, counts = names["objects"], names["counts"]
    assert isinstance(objects, geopandas.GeoDataFrame) and isinstance(counts, polars.DataFrame)
    assert len(objects) == 12 and counts["object_count"].drop_nulls().to_list() == [12]
    # Every object is a square of 20 pixels a side.
    mask = names["mask"]
    assert isinstance(mask, np.ndarray) and mask.dtype == bool
    assert mask.shape == (1, 20, 20) and mask.all()
