"""Classes of the truth and of the run: which is which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from schemas.errors import SpecError

OTHER = "(no class of the run)"
"""Stands for classes of the truth that the model does not know: all their objects are misses."""


class Classes:
    """Classes of the run, and what the truth calls them. Case, hyphens, underscores and blanks make no difference."""

    def __init__(self, labels: Sequence[str], class_map: Mapping[str, str], *, any_class: bool = False) -> None:
        """labels: of the run. class_map: what the truth calls them, where it is another name.

        Raises SpecError where `class_map` names what the run does not have.
        """
        self._labels, self._any = list(labels), any_class
        self._place = {_plain(label): k for k, label in enumerate(self._labels)}
        unknown = [name for name in class_map.values() if _plain(name) not in self._place]
        if unknown:
            raise SpecError(f"--class: the run has no class {unknown[0]!r}; it has {', '.join(self._labels)}")
        self._map = {_plain(theirs): self._place[_plain(ours)] for theirs, ours in class_map.items()}
        self._met: dict[str, int] = {}
        self._known = 0

    @property
    def all(self) -> tuple[str, ...]:
        """Names by place; the last stands for what the run does not know."""
        if self._any:
            return (" or ".join(self._labels) if len(self._labels) <= 3 else "any class", OTHER)
        return (*self._labels, OTHER)

    def of_run(self, label: str) -> int:
        """Place of a class of the run."""
        return 0 if self._any else self._place[_plain(label)]

    def of_truth(self, label: str | None, told: str | None = None) -> int:
        """Place of a class of the truth. Raises SpecError where the truth has none and the run has several.

        told: what messages call it, where its label must not be shown; `class_map` may name it so, too.
        """
        if self._any or (label is None and len(self._labels) == 1):
            self._known += 1
            return 0
        if label is None:
            raise SpecError(
                f"the truth names no classes, the run has {', '.join(self._labels)}: add --class-field FIELD, or "
                "--any-class to compare objects whatever their class"
            )
        place = self._map.get(_plain(label), self._place.get(_plain(label)))
        if place is None and told is not None:
            place = self._map.get(_plain(told))
        if place is None:
            shown = label if told is None else told
            self._met[shown] = self._met.get(shown, 0) + 1
            return len(self._labels)
        self._known += 1
        return place

    def check(self) -> None:
        """Raise SpecError where no object of the truth has a class of the run."""
        if self._met and not self._known:
            raise SpecError(
                f"the truth's classes ({', '.join(sorted(self._met)[:5])}) are none of the run's "
                f"({', '.join(self._labels)}): add --class TRUTH=RUN for each, or --any-class"
            )

    def notes(self) -> Iterator[str]:
        """What a reader of the figures should know."""
        if self._met:
            told = ", ".join(f"{name} ({count:,})" for name, count in sorted(self._met.items()))
            yield f"classes of the truth that the run does not have, counted as misses: {told}"


def _plain(label: str) -> str:
    return "_".join(label.casefold().replace("-", " ").replace("_", " ").split())
