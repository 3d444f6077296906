"""What a pickle describes, built without importing or calling anything that it names.

A small machine executes the instructions that `torch.save` writes (pickle protocol 2 without sets) and refuses all
others. It makes plain containers; whatever else a pickle names becomes an `Inert`. Values that Python hashes or
compares slowly, such as tuples that share parts, are refused as keys, so that time and memory stay in proportion
to the number of instructions.
"""

from collections.abc import Callable, Mapping, Sequence
from pickletools import genops
from typing import Any

_MAX_INSTRUCTIONS = 5_000_000
_MAX_OBJECTS = 200_000
_MAX_KEY = 1 << 60  # numbers beyond it can be chosen to have one hash


class Inert(dict[object, object]):
    """Stands for a class, a function, or an object of any class, whose entries and attributes it keeps."""

    __slots__ = ("attributes", "origin")

    def __init__(self, origin: str) -> None:
        super().__init__()
        self.origin = origin  # "module.name"
        self.attributes: dict[object, object] = {}

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other


def build(
    program: bytes,
    recipes: Mapping[str, Callable[..., object]],
    persistent: Callable[[object], object],
) -> object:
    """`recipes`, by "module.name", are all that is called; `persistent` resolves references out of the pickle.

    Raises ValueError for an instruction or a value that a file of `torch.save` does not hold, and whatever a
    damaged program or the given functions raise.
    """
    stack: list[Any] = []
    waiting: list[list[Any]] = []  # stacks under a mark
    memo: dict[int, object] = {}
    n_objects = 0
    for at, (instruction, argument, _) in enumerate(genops(program)):
        if at >= _MAX_INSTRUCTIONS or n_objects > _MAX_OBJECTS:
            raise ValueError(f"the pickle has over {_MAX_INSTRUCTIONS} instructions or {_MAX_OBJECTS} objects")
        match instruction.name:
            case "BINPUT" | "LONG_BINPUT":
                memo[int(argument or 0)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[int(argument or 0)])
            case "NONE" | "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE":
                stack.append(argument)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(instruction.name == "NEWTRUE")
            case "MARK":
                waiting.append(stack)
                stack = []
            case "TUPLE":
                stack, items = waiting.pop(), stack
                stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = int(instruction.name[-1])
                stack[-size:] = [tuple(stack[-size:])]
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "APPEND":
                _extend(stack[-2], [stack.pop()])
            case "APPENDS":
                stack, items = waiting.pop(), stack
                _extend(stack[-1], items)
            case "SETITEM":
                items = stack[-2:]
                del stack[-2:]
                _enter(stack[-1], items)
            case "SETITEMS":
                stack, items = waiting.pop(), stack
                _enter(stack[-1], items)
            case "GLOBAL":
                n_objects += 1
                stack.append(Inert(str(argument).replace(" ", ".")))
            case "REDUCE" | "NEWOBJ":
                arguments, name = stack.pop(), stack.pop()
                n_objects += 1
                recipe = recipes.get(name.origin)
                stack.append(recipe(*arguments) if recipe is not None else Inert(name.origin))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Inert) and isinstance(state, dict):
                    stack[-1].attributes.update(state)
            case "BINPERSID":
                stack.append(persistent(stack.pop()))
            case "PROTO":
                pass
            case "STOP":
                return stack.pop()
            case other:
                raise ValueError(f"the pickle holds the instruction {other}, which torch.save does not write")
    raise ValueError("the pickle has no end")


def _extend(target: object, items: Sequence[object]) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif not isinstance(target, Inert):
        raise ValueError(f"the pickle appends to a {type(target).__name__}")


def _enter(target: object, items: Sequence[object]) -> None:
    """Keys and values by turns."""
    if not isinstance(target, dict):
        raise ValueError(f"the pickle sets entries of a {type(target).__name__}")
    for key, value in zip(items[::2], items[1::2], strict=True):
        small = isinstance(key, int) and abs(key) <= _MAX_KEY
        if not small and not isinstance(key, str | float | Inert | None):
            raise ValueError(f"the pickle has a {type(key).__name__} as key; expected text or a small number")
        target[key] = value
