from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.config import JobSpec, expand_extent, json_schema, parse_bytes
from jobs.loading import load_spec
from schemas.errors import SpecError

SMALL: dict[str, Any] = {"inputs": ["a.tif"], "model": "threshold", "output": {"path": "out"}}


def write(folder: Path, text: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path | None = None, **given_: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_spec(path, **given_)
    return caught.value.problems


def test_a_plain_string_is_the_models_reference():
    assert load_spec(values=SMALL).model == load_spec(values=SMALL | {"model": {"reference": "threshold"}}).model


def test_every_problem_is_reported_at_once_with_file_path_and_near_miss(tmp_path: Path):
    path = write(tmp_path, "model: {refrence: x}\noutput: {path: out, masks: some}\ntiling: {tilee: 3}\nthreads: 2\n")
    found = problems(path)
    for line in (
        f"{path}: inputs: Field required",
        f"{path}: model.reference: Field required",
        f"{path}: model.refrence: Extra inputs are not permitted; did you mean 'model.reference'?",
        f"{path}: output.masks: Input should be 'none', 'labels', 'classes' or 'panoptic'",
        f"{path}: tiling.tilee: Extra inputs are not permitted; did you mean 'tiling.tile'?",
        f"{path}: threads: Extra inputs are not permitted; did you mean 'engine.threads'?",
    ):
        assert line in found
    assert len(found) == 6


def test_problems_of_set_name_the_command_line_and_not_the_file(tmp_path: Path):
    path = write(tmp_path, "inputs: [a.tif]\nmodel: threshold\noutput: {path: out}\n")
    assert problems(path, overrides=["tiling.tile=0"]) == [
        "command line: tiling.tile: Input should be greater than or equal to 1, found 0"
    ]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("inputs", "[]", "at least 1 item"),
        ("model.window", "[0]", "at least 1 pixel"),
        ("model.window", "[1, 2, 3, 4]", "at most 3 items"),
        ("model.bands", "[1.5]", "expected a band's name or its 0-based index"),
        ("model.resolution", "-1", "greater than 0"),
        ("model.resolution", "fine", "valid number"),
        ("model.spacing", "[3, 1]", "at least 3 items"),
        ("model.spacing", "[3, 1, 0]", "greater than 0"),
        ("output.max_pixels", "0", "greater than or equal to 1"),
        ("output.min_score", ".nan", "finite"),
        ("tiling.memory", "lots", "expected a size above 0 such as 2GB"),
        ("tiling.tile", "true", "valid integer"),
        ("engine.threads", "'4'", "valid integer"),
        ("engine.workers", "0", "greater than or equal to 1"),
        ("engine.deadline_s", "0", "greater than 0"),
    ],
)
def test_an_impossible_value_is_refused(key: str, value: str, message: str):
    found = problems(values=SMALL, overrides=[f"{key}={value}"])
    assert len(found) == 1
    assert found[0].startswith(f"command line: {key}") and message in found[0]


@pytest.mark.parametrize("text", ["5e-7", "0.5e-6", "'5e-07'", "0.0000005"])
def test_a_resolution_of_micrometres_may_be_written_with_an_exponent(text: str):
    assert load_spec(values=SMALL, overrides=[f"model.resolution={text}"]).model.resolution == pytest.approx(5e-7)


def test_max_pixels_below_min_pixels_is_refused():
    assert "at least min_pixels" in problems(values=SMALL, overrides=["output.min_pixels=9", "output.max_pixels=8"])[0]


def test_paths_of_a_file_are_relative_to_it_and_those_of_set_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "there" / "net").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    (tmp_path / "there" / "net" / "w.pth").touch()
    monkeypatch.chdir(tmp_path / "here")
    path = write(
        tmp_path / "there",
        "inputs: [a/*.tif, ../b.tif, /abs/c.tif, s3://bucket/d.tif, /vsizip/e.zip/f.tif]\n"
        "model:\n  reference: 'python:net/model.py:Net'\n"
        "  options: {weights: net/w.pth, name: plain, other: no/such.pth}\n"
        "output: {path: out}\n",
    )
    spec = load_spec(path)
    there = tmp_path / "there"
    assert spec.inputs == [
        f"{there}/a/*.tif",
        f"{tmp_path}/b.tif",
        "/abs/c.tif",
        "s3://bucket/d.tif",
        "/vsizip/e.zip/f.tif",
    ]
    assert spec.output.path == f"{there}/out"
    assert spec.model.reference == f"python:{there}/net/model.py:Net"
    assert spec.model.options == {"weights": f"{there}/net/w.pth", "name": "plain", "other": "no/such.pth"}
    assert load_spec(path, overrides=["output.path=x"]).output.path == f"{tmp_path}/here/x"


def test_an_importable_model_is_no_path():
    assert load_spec(values=SMALL | {"model": "python:pkg.mod:Net"}).model.reference == "python:pkg.mod:Net"


def test_set_values_are_yaml_and_reach_into_a_model_given_as_a_string():
    spec = load_spec(values=SMALL, overrides=["model.options.levels=[1, 2]", "model.options.name=x", "model.window=64"])
    assert spec.model.options == {"levels": [1, 2], "name": "x"}
    assert spec.model.reference == "threshold" and spec.model.window == [64]


def test_options_of_the_command_line_win_over_set_and_none_is_left_out():
    chosen = {("engine", "kind"): "inline", ("engine", "address"): None}
    spec = load_spec(values=SMALL, overrides=["engine.kind=ray", "engine.address=auto"], options=chosen)
    assert (spec.engine.kind, spec.engine.address) == ("inline", "auto")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found nothing"),
        ("- a", "found a list"),
        ("inputs: [a", "not valid YAML"),
        ("inputs: [a]\ninputs: [b]\n", "the key 'inputs' is written twice"),
    ],
)
def test_a_file_that_is_no_spec_is_refused_by_name(tmp_path: Path, text: str, message: str):
    path = write(tmp_path, text)
    (problem,) = problems(path)
    assert problem.startswith(str(path)) and message in problem


def test_a_missing_or_binary_file_is_refused_by_name(tmp_path: Path):
    assert "cannot be read: No such file" in problems(tmp_path / "no.yaml")[0]
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in problems(tmp_path / "b.yaml")[0]


def test_yaml_merge_keys_work(tmp_path: Path):
    path = write(
        tmp_path, "inputs: [a]\nmodel: threshold\noutput: &o {path: out}\ntiling: {<<: {tile: 7}, memory: 1GB}\n"
    )
    assert load_spec(path).tiling.tile == 7


@pytest.mark.parametrize("text", ["", "a..b=1", "nothing", "=3"])
def test_a_set_without_key_or_value_is_refused(text: str):
    with pytest.raises(SpecError, match=r"^--set .*: expected key=value"):
        load_spec(values=SMALL, overrides=[text])


@pytest.mark.parametrize("value", ["0", "-3", "2.5", "all", "null"])
def test_what_is_no_hole_size_is_refused_in_plain_words(value: str):
    (problem,) = problems(values=SMALL, overrides=[f"output.fill_holes={value}"])
    assert "output.fill_holes: expected true, false, or how many pixels" in problem


def test_hole_sizes_and_switches_are_told_apart():
    for text, value in (("true", True), ("false", False), ("1", 1), ("50", 50)):
        found = load_spec(values=SMALL, overrides=[f"output.fill_holes={text}"]).output.fill_holes
        assert (found, type(found)) == (value, type(value))


def test_set_below_a_plain_value_is_refused():
    assert "plain value" in problems(values=SMALL, overrides=["output.path.x=1"])[0]


def test_the_digest_follows_what_determines_results_and_nothing_else():
    base = load_spec(values=SMALL).digest()
    for same in ("tiling.tile=64", "tiling.memory=1GB", "engine.kind=inline", "engine.workers=3", "output.path=other"):
        assert load_spec(values=SMALL, overrides=[same]).digest() == base, same
    assert load_spec(values=SMALL, overrides=["output.masks=labels"]).digest() == base
    changed = [
        load_spec(values=SMALL, overrides=[text]).digest()
        for text in (
            "inputs=[b.tif]",
            "model=other",
            "model.options.level=3",
            "model.window=64",
            "output.min_pixels=2",
            "output.border=drop",
            "output.border=unbiased",
            "output.fill_holes=true",
            "output.fill_holes=1",
            "output.largest_only=true",
        )
    ]
    assert len({base, *changed}) == 11


def test_the_json_schema_accepts_what_the_spec_accepts_and_refuses_what_it_refuses():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    good = [
        SMALL,
        SMALL | {"model": {"reference": "x", "window": 64, "overlap": [8, 8]}, "tiling": {"memory": 1_000_000}},
        load_spec(values=SMALL).model_dump(mode="json"),
    ]
    for body in good:
        jsonschema.validate(body, schema)
        JobSpec.model_validate(body)
    for body in (SMALL | {"x": 1}, SMALL | {"inputs": []}, SMALL | {"tiling": {"tilee": 1}}, SMALL | {"model": ""}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(body, schema)
        with pytest.raises(SpecError):
            load_spec(values=body)
    json.dumps(schema)


SPECS = st.builds(
    lambda inputs, options, tile, score, window: load_spec(
        values={
            "inputs": [f"/data/{name}" for name in inputs],
            "model": {"reference": "m", "options": options, "window": window},
            "output": {"path": "/o", "min_score": score},
            "tiling": {"tile": tile},
        }
    ),
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1), min_size=1, max_size=3),
    st.dictionaries(st.sampled_from("abc"), st.booleans() | st.integers() | st.sampled_from(["x", "1e3", "no", ""])),
    st.integers(1, 10**6),
    st.none() | st.floats(0, 1),
    st.none() | st.lists(st.integers(1, 999), min_size=1, max_size=3),
)


@given(spec=SPECS)
def test_a_spec_written_as_yaml_is_read_back_the_same(spec: JobSpec, tmp_path_factory: pytest.TempPathFactory):
    path = write(tmp_path_factory.getbasetemp(), spec.to_yaml())
    again = load_spec(path)
    assert again == spec and again.digest() == spec.digest()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2GB", 2_000_000_000), ("1.5GiB", 1_610_612_736), ("800M", 800_000_000), ("64 kb", 64_000), ("123", 123)],
)
def test_sizes_are_read(text: str, expected: int):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "1XB", "1 2"])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(ValueError, match="expected a size"):
        parse_bytes(text)


def test_extents_of_one_two_and_three_numbers_are_completed():
    assert [expand_extent(values, 5) for values in ([8], [8, 9], [1, 8, 9])] == [(5, 8, 8), (5, 8, 9), (1, 8, 9)]
