"""`segworkers identify`: the way back from pseudonyms to originals, for those who may read the crosswalk."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from schemas.errors import SpecError, StoreError
from segworkers.dicom.crosswalk import Crosswalk

_PSEUDONYM = re.compile(r"(?:[a-z-]+:)?([0-9a-f]{32})")
_UID = re.compile(r"2\.25\.([0-9]{1,39})")


def identify(pseudonyms: Sequence[str], crosswalk: Path) -> list[str]:
    """One line for each original, in the order asked for: pseudonym as asked, kind and original, separated by tabs.

    pseudonyms: 32 hexadecimal digits, with or without a prefix such as `dicom:`; or UIDs 2.25.… of research objects.
    Raises SpecError where one is neither, StoreError where one is not of this crosswalk.
    """
    asked = {text: plain(text) for text in pseudonyms}
    found: dict[str, list[str]] = {}
    for kind, pseudonym, original in Crosswalk(str(crosswalk.absolute())).originals(set(asked.values())):
        found.setdefault(pseudonym, []).append(f"{kind}\t{original}")
    unknown = [text for text, pseudonym in asked.items() if pseudonym not in found]
    if unknown:
        raise StoreError(f"{', '.join(unknown)}: not known to this crosswalk; give that of the run it comes from")
    return [f"{text}\t{told}" for text, pseudonym in asked.items() for told in found[pseudonym]]


def plain(text: str) -> str:
    """The 32 hexadecimal digits of a pseudonym or UID. Raises SpecError where it is none."""
    if found := _PSEUDONYM.fullmatch(text):
        return found[1]
    if (found := _UID.fullmatch(text)) and int(found[1]) < 1 << 128:
        return f"{int(found[1]):032x}"
    raise SpecError(
        f"{text}: expected 32 hexadecimal digits, alone or after dicom:, dicom-file: or input:, or a UID 2.25.…"
    )
