"""Every error this project raises on purpose.

    SegworkersError (Exception)
    ├── SpecError        the job cannot start: the spec, an option or a combination is wrong   (exit code 2)
    ├── StoreError       the run folder is not what was expected: another job's, torn, changed (exit code 1)
    ├── VerifyError      the tables, the ledger and the files do not agree                     (exit code 1)
    └── InputError       one input cannot be processed; becomes a row of `failures`            (exit code 3)
        └── TileError    one work tile cannot be processed; becomes a row of `failures`        (exit code 3)

A message says what was expected, what was found, where, and what to do. Messages enter tables and logs, so they never
contain pixel values or patient data.
"""


class SegworkersError(Exception):
    """Base of all errors raised on purpose; `str()` of it is fit to show to a user."""


class SpecError(SegworkersError):
    """The job cannot start as specified. `problems` holds one line for each problem, all at once."""

    def __init__(self, problems: str | list[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class StoreError(SegworkersError):
    """The run folder holds something other than what the run expects."""


class VerifyError(SegworkersError):
    """A finished run does not stand up to its own ledger."""


class InputError(SegworkersError):
    """One input cannot be processed. `reason` is a stable code that `failures` carries; `hint` says what to do."""

    def __init__(self, reason: str, message: str, hint: str = "") -> None:
        self.reason = reason
        self.message = message
        self.hint = hint
        super().__init__(f"{message} {hint}".strip())

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.reason, self.message, self.hint))


class TileError(InputError):
    """One work tile, or some of its windows, cannot be processed."""
