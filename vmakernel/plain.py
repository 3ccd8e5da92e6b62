"""What may come back from a learner's function: plain values, as JSON, measured and checked.

Previous: run.py; next: guard.py.

Whoever reads an answer calls, imports and unpickles nothing that it names. A value is None, ..., a
bool, a number, text, bytes, a list, tuple, set, frozenset or dict of values, or one of the engine's
in the tables below, built anew from fields that are checked. Both sides count: a value that is
small where it was made, [x, x] of [x, x] of ..., may be endless where it is written out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, get_type_hints

from vmakernel.kernels import Growth, Removal
from vmakernel.predicates import Verdict
from vmakernel.vma import VMA, AnonVma, Proposal, VmOps

VALUES: Final = 5000  # in one answer, those inside others included
DEPTH: Final = 40  # of values inside values
CHARACTERS: Final = 300_000  # of all the text in an answer
BITS: Final = 1024  # of a number

TUPLES: Final[dict[str, Any]] = {one.__name__: one for one in (VMA, VmOps, AnonVma, Proposal)}
FIELDS: Final = {name: tuple(get_type_hints(one).values()) for name, one in TUPLES.items()}
ENUMS: Final[dict[str, Any]] = {one.__name__: one for one in (Verdict, Removal, Growth)}
HOLDERS: Final[dict[str, Callable[[Iterable[Any]], Any]]] = {
    one.__name__: one for one in (tuple, set, frozenset)
}


class NotPlain(ValueError):
    """A value that cannot be handed over; the message is a clause that says why."""


class _Room:
    """What is left of an answer's size."""

    def __init__(self) -> None:
        self.values, self.characters = VALUES, CHARACTERS

    def take(self, depth: int, characters: int = 0) -> None:
        self.values -= 1
        self.characters -= characters
        if depth > DEPTH:
            raise NotPlain(f"returned values that are nested more than {DEPTH} deep")
        if self.values < 0:
            raise NotPlain(f"returned more than {VALUES:,} values")
        if self.characters < 0:
            raise NotPlain(f"returned more than {CHARACTERS:,} characters")


def packed(value: object) -> Any:
    """Return a value as JSON has it. Raises NotPlain."""
    return _packed(value, _Room(), 0)


def _packed(value: Any, room: _Room, depth: int) -> Any:
    kind = type(value)
    room.take(depth, len(value) if kind is str or kind is bytes else 0)
    if value is None or kind is bool or kind is float:
        return value
    if kind is int:
        return _number(value)
    if kind is str:
        return _text(value)
    if kind is bytes:
        return {"bytes": value.hex()}
    if value is ...:
        return {"...": None}
    if kind is dict:
        return {"dict": [_packed(part, room, depth + 1) for pair in value.items() for part in pair]}
    name = kind.__name__
    if ENUMS.get(name) is kind:
        return {name: value.name}
    if kind is list or HOLDERS.get(name) is kind or TUPLES.get(name) is kind:
        inside = [_packed(one, room, depth + 1) for one in value]
        return inside if kind is list else {name: inside}
    raise NotPlain(f"returned a {name}, which cannot be handed over")


def unpacked(tree: object) -> Any:
    """Return the value that was packed. Raises NotPlain, whatever the tree is."""
    try:
        return _unpacked(tree, _Room(), 0)
    except NotPlain:
        raise
    except (ValueError, TypeError, LookupError, RecursionError):
        raise NotPlain("returned what cannot be handed over") from None


def _unpacked(tree: Any, room: _Room, depth: int) -> Any:
    room.take(depth, len(tree) if type(tree) is str else 0)
    if tree is None or type(tree) in (bool, float):
        return tree
    if type(tree) is int:
        return _number(tree)
    if type(tree) is str:
        return _text(tree)
    if type(tree) is list:
        return [_unpacked(one, room, depth + 1) for one in tree]
    ((name, held),) = tree.items()
    if name == "...":
        return ...
    if name == "bytes":
        room.take(depth, len(held) // 2)
        return bytes.fromhex(held)
    if name in ENUMS:
        return ENUMS[name][held]
    if type(held) is not list:
        raise NotPlain("returned what cannot be handed over")
    inside = [_unpacked(one, room, depth + 1) for one in held]
    if name == "dict":
        return dict(zip(inside[::2], inside[1::2], strict=True))
    if name in HOLDERS:
        return HOLDERS[name](inside)
    for one, hint in zip(inside, FIELDS[name], strict=True):
        if not isinstance(one, hint):
            raise NotPlain(f"returned a {name} with a {type(one).__name__} where none can be")
    return TUPLES[name](*inside)


def _number(value: int) -> int:
    if value.bit_length() > BITS:
        raise NotPlain(f"returned a number of more than {BITS:,} bits")
    return value


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotPlain("returned text with half a character (a lone surrogate)") from None
    return value
