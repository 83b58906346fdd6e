"""`segworkers models`: the models there are as text, their weights on this machine, whether they are as they say."""

from __future__ import annotations

import logging
import textwrap
from typing import cast

from schemas.errors import SpecError, VerifyError
from segworkers.segmenters.bundle_checks import bundle_problems, is_here
from segworkers.segmenters.bundle_weights import weights_folder
from segworkers.segmenters.bundles import OpenBundle, open_bundle, shipped_names
from segworkers.segmenters.loading import MODELS, asked_options
from segworkers.segmenters.published_models import prior_of
from segworkers.segmenters.registry import card_text, find_bundle, megabytes, model_names

_log = logging.getLogger(__name__)

_WITHOUT_CARD = {form.partition(":")[0]: form for form in MODELS if form.startswith(("threshold", "maskrcnn"))}
"""Models that are no bundles but have options, by what stands before a colon."""


def model_text(action: str, name: str | None) -> str:
    """What is printed for `list`, `show`, `fetch` or `verify`.

    name: one of the package's models, or the path of a bundle. Raises SpecError for a model that is not there, or a
    name too many or too few; VerifyError, with every problem, where a model is not as it says.
    """
    if action == "list":
        if name is not None:
            raise SpecError(f"models list takes no name; to see {name}: segworkers models show {name}")
        return _list()
    kind = (name or "").partition(":")[0]
    if kind in _WITHOUT_CARD:
        if action != "show":
            raise SpecError(f"{name}: is no bundle; its options: segworkers models show {kind}")
        return _options_text(kind)
    if action == "verify":
        return _verify(name)
    if name is None:
        raise SpecError(f"models {action} needs a name or the path of a bundle; there are\n{_table()}")
    bundle = find_bundle(name)
    return card_text(bundle.definition, _state(bundle)) if action == "show" else _fetch(bundle)


def _list() -> str:
    others = "\n".join(f"{form:36} {line}" for form, line in MODELS.items())
    hint = "options of threshold: segworkers models show threshold; of Mask R-CNN: segworkers models show maskrcnn"
    return f"{_table()}\n\nand by reference:\n{others}\n\n{hint}"


def _options_text(kind: str) -> str:
    form = _WITHOUT_CARD[kind]
    lines = [f"{form}: {MODELS[form]}", "", "options (--set model.options.NAME=VALUE)"]
    for each in asked_options(kind):
        default = _default(each.default)
        text = f"{each.name}: {each.expects}{f'; default {default}' if default else ''}. {each.about}"
        lines += textwrap.wrap(text, 100, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False)
    return "\n".join(lines)


def _default(value: object) -> str:
    """As it would be typed; empty where the default depends on something else."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, cast("tuple[object, ...]", value)))
    return "" if value is None else str(value)


def _table() -> str:
    """One line for each of the package's models: name, licence, size, whether its weights are here, summary."""
    lines: list[str] = []
    for name in model_names():
        bundle = find_bundle(name)
        definition = bundle.definition
        state = "here" if is_here(bundle) else "fetch"
        size = megabytes(definition.weights) or "?"
        lines.append(f"{name:16} {definition.card.licence:13} {size:>9}  {state:6} {definition.card.summary}")
    return "\n".join(lines)


def _state(bundle: OpenBundle) -> str:
    if is_here(bundle):
        return "yes; `segworkers models verify` looks at every byte"
    return f"no: segworkers models fetch {bundle.place}"


def _fetch(bundle: OpenBundle) -> str:
    prior = prior_of(bundle.definition)
    if prior is not None:
        weights_folder(open_bundle(prior.reference))
    return f"{bundle.definition.name}: weights checked, {weights_folder(bundle)}"


def _verify(name: str | None) -> str:
    """A line for each model that is as it says; without a name all of the package's whose weights are here."""
    if name is not None:
        bundles = [find_bundle(name)]
        if not is_here(bundles[0]):
            raise VerifyError(f"{name}: its weights are not here: segworkers models fetch {name}")
    else:
        known = [open_bundle(each) for each in shipped_names()]
        bundles = [each for each in known if is_here(each)]
    problems = {each.definition.name: bundle_problems(each, _log.info) for each in bundles}
    wrong = [f"{name}: {line.removeprefix(f'{name}: ')}" for name, lines in problems.items() for line in lines]
    if wrong:
        raise VerifyError("\n".join(wrong))
    return "\n".join(f"{name}: as it says" for name in problems) or "no weights are here: segworkers models fetch NAME"
