"""pydicom is made silent: its warnings and log lines repeat attribute values, which may name a patient.

Import this module for its effect wherever pydicom is imported. What matters is decided on attributes and raised as
errors of our own. Warnings filters belong to the process, so this is done once, at import.
"""

from __future__ import annotations

import logging
import warnings

LIBRARIES = ("pydicom", "highdicom", "wsidicom", "pylibjpeg", "jpeg_ls", "openjpeg", "libjpeg")
"""Whose warnings and log lines are dropped."""


def silence() -> None:
    """Drop warnings and log lines of `LIBRARIES` in this process."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")
    # Some are attributed to the caller.
    warnings.filterwarnings("ignore", module=r"segworkers\.dicom\.")


silence()
