"""The code in a TorchScript file, as text: split as torch splits it, and every way to an operator looked at.

Reading such a file can run parts of it (`__setstate__` of its classes), so this comes before torch sees it. torch
writes the code itself, in one narrow form: names joined by dots without gaps, strings in double quotes on one line, no
continued lines. Text in another form is refused, because another reader of it could see another program. In that form
operators are reached through the names `torch` and `ops` alone, so each of them must name one operator then and there:
not be kept under another name, not be handed to `getattr`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

NAMESPACES = ("aten", "prim", "torchvision", "quantized")
"""Of operators that compute."""

FILES = ("from_file", "save", "load", "write", "read", "open", "_load_for_lite_interpreter")
"""Names of operators that touch files, whatever their namespace."""

_OUTSIDE = re.compile(r"rpc_\w+|(Ignored)?PythonOp")
"""Names of operators that call other machines, or Python."""
_ADDRESS = re.compile(r"\bstr\??(\[\])? \w*(file|path|url|uri|host|address|command)\w*", re.IGNORECASE)
_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\\n]|\\[^\n])*+"(?!"))'
    r'|(?P<name>(?:(?<=[\])])\.)?[A-Za-z_]\w*+(?:\.[A-Za-z_]\w*+)*+(?!"))'
    r"|(?P<number>\d++(?:\.(?![A-Za-z_])\d*+)?)"
    r"|(?P<rest>[ \n]++|[-+*/%<>=!&|^~@#,:;(){}\[\]])",
    re.ASCII,
)
_CLASSES = re.compile(rb"torch\s*[.\n]\s*(classes\s*[.\n]\s*(?!quantized\b)\w+|distributed\b)")


def names_of(text: str) -> Iterator[str]:
    """Every name with its dotted parts, in order; one that follows a bracket begins with a dot.

    Raises ValueError, with the place, where the text is in no form that torch writes.
    """
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            line = text.count("\n", 0, position) + 1
            raise ValueError(
                f"text in a form that torch does not write, {text[position : position + 20]!r}, line {line}"
            )
        # `name : type` declares an attribute, which may have any name.
        name = token["name"]
        if name is not None and ("." in name or not text.startswith(" : ", token.end())):
            yield name
        position = token.end()


def problem_of_code(code: bytes) -> str | None:
    """What is wrong with a file of code; None where every operator that it reaches computes."""
    try:
        # Byte for byte: what is not ASCII may stand in strings only.
        for name in names_of(code.decode("latin-1")):
            if problem := _problem_of_name(name):
                return problem
    except ValueError as error:
        return str(error)
    return None


def problem_of_pickle(content: bytes) -> str | None:
    """What is wrong with the pickled attributes of a file; None where their classes are its own, or torch's."""
    match = _CLASSES.search(content)
    return None if match is None else f"an object of {match[0].decode().replace(chr(10), '.')}"


def problem_of_operator(name: str, schema: str = "") -> str | None:
    """What is wrong with a call of `namespace::name`; None where it computes. schema: its signature."""
    namespace, _, own = name.partition("::")
    own = own.partition(".")[0]
    strange = namespace not in NAMESPACES or own in FILES or _OUTSIDE.fullmatch(own)
    return f"a call of {name}" if strange or _ADDRESS.search(schema) else None


def _problem_of_name(name: str) -> str | None:
    parts = name.split(".")  # the first is empty after a bracket: what follows is an attribute
    if parts[0] == "__torch__":
        foreign = parts[1:3] == ["torch", "classes"] and (parts[3:4] != ["quantized"] or len(parts) < 5)
        return f"an object of {name}" if foreign or parts[1:] in ([], ["torch"]) else None
    if parts[0] not in ("torch", "ops"):
        return None
    if len(parts) < (2 if parts[0] == "torch" else 3):
        return f"{name!r}, which names no operator,"
    namespace, *rest = ["aten", *parts[1:]] if parts[0] == "torch" else parts[1:]
    touches = any(part in FILES for part in rest) or problem_of_operator(f"{namespace}::{'.'.join(rest)}")
    return f"a call of {name}" if touches else None
