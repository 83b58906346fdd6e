"""A crosswalk that lost its key must not give old identities new pseudonyms."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import SpecError
from segworkers.dicom.crosswalk import Crosswalk


def test_a_crosswalk_without_its_key_is_refused_and_an_empty_one_gets_a_key(tmp_path: Path) -> None:
    crosswalk = Crosswalk.open(str(tmp_path / "c"))
    pseudonym = crosswalk.pseudonyms().of("subject", "P1")
    (tmp_path / "c" / "key").unlink()
    assert Crosswalk.open(str(tmp_path / "c")).pseudonyms().of("subject", "P1") != pseudonym  # nothing was in it
    crosswalk.add_names([("subject", pseudonym, "P1")])
    (tmp_path / "c" / "key").unlink()
    with pytest.raises(SpecError, match="identities but no key"):
        Crosswalk.open(str(tmp_path / "c"))
