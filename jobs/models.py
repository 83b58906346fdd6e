"""`segworkers models`: the built-in models as text, and their weights on this machine."""

from __future__ import annotations

from schemas.errors import SpecError
from segworkers.segmenters.loading import MODELS, resolve_model
from segworkers.segmenters.registry import CARDS, card_of, card_text, cards_list


def model_text(action: str, name: str | None) -> str:
    """What is printed for `list`, `show` or `fetch`.

    Raises SpecError for a model that is not there, or a name too many or too few.
    """
    if action == "list":
        if name is not None:
            raise SpecError(f"models list takes no name; to see {name}: segworkers models show {name}")
        others = "\n".join(f"{form:36} {line}" for form, line in MODELS.items() if form not in CARDS)
        return f"{cards_list()}\n\nand by reference:\n{others}"
    if name is None:
        raise SpecError(f"models {action} needs a name, one of\n{cards_list()}")
    if action == "show":
        return card_text(card_of(name))
    card_of(name)
    _, spec = resolve_model(name, {}, fetch=True)
    return f"{name}: weights checked, {spec.weights}"
