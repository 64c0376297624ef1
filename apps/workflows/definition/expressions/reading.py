"""What a CEL expression names, read from its text: the library tells of no more than single names.

Strings with three quotes and bytes are refused: a reading that differs from the library's could be misled by them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from apps.workflows.definition.values import ROOTS, Reference, ValueProblem

MAX_CHARS = 1_000
MAX_NESTED_MACROS = 2
MAX_BRACKETS = 24
MAX_MATCHES = 3
MAX_CHOICES = 20

_TOKEN = re.compile(
    r"""(?P<gap>\s+|//[^\n]*)
      | (?P<string>[rR](?:"[^"\n]*"|'[^'\n]*')|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<number>\d\w*(?:\.\d\w*)?)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<sign>.)""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)
_MACROS = frozenset({"all", "exists", "exists_one", "filter", "map"})
_COPYING_MACROS = frozenset({"filter", "map"})
_WORDS = frozenset({"true", "false", "null", "in"})


@dataclass(frozen=True, slots=True)
class Macro:
    """`depth` 1 is not within another. `is_copying`: its time grows with the square of the list's length."""

    depth: int
    is_copying: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """`paths` are those from the roots; `tested` are those that `has(…)` asks for.

    `mentions` are the paths as often as they stand there, each with the number of macros that it stands in.
    """

    paths: tuple[str, ...]
    mentions: tuple[tuple[str, int], ...]
    tested: frozenset[str]
    macros: tuple[Macro, ...]
    plus_signs: int
    commas: int

    def references(self) -> list[Reference]:
        """A path has a default where `has(…)` asks for it, for what it is in, or for something in it."""
        return [Reference(path, self._is_tested(path), "") for path in self.paths]

    def _is_tested(self, path: str) -> bool:
        return any(f"{path}.".startswith(f"{tested}.") or f"{tested}.".startswith(f"{path}.") for tested in self.tested)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


@lru_cache(maxsize=1024)
def read(expression: str) -> Reading:
    """Raises ValueProblem for names that are no roots, and for what may take too long."""
    if len(expression) > MAX_CHARS:
        raise ValueProblem("EXPRESSION_TOO_LARGE", f"At most {MAX_CHARS} characters.")
    tokens = _tokens(expression)
    macros, bound, depths = _macros(tokens)
    found, tested = _paths(tokens, bound)
    _check_costs(tokens, macros)
    signs = [token.text for token in tokens if token.kind == "sign"]
    return Reading(
        paths=tuple(dict.fromkeys(path for path, _ in found)),
        mentions=tuple((path, depths[place]) for path, place in found),
        tested=frozenset(tested),
        macros=tuple(macros),
        plus_signs=signs.count("+"),
        commas=signs.count(","),
    )


def _tokens(expression: str) -> list[_Token]:
    found = [
        _Token(match.lastgroup or "", match.group())
        for match in _TOKEN.finditer(expression)
        if match.lastgroup != "gap"
    ]
    for token, following in pairwise(found):
        if following.kind == "string" and token.kind in {"string", "name", "number"} and token.text not in _WORDS:
            raise ValueProblem("INVALID_EXPRESSION", "Strings are in single or double quotes; bytes are not offered.")
    return found


def _macros(tokens: Sequence[_Token]) -> tuple[list[Macro], set[str], list[int]]:
    """The macros, the names that they bind, and in how many of them each token stands."""
    depths: list[int] = []
    macros: list[Macro] = []
    bound: set[str] = set()
    open_brackets: list[bool] = []
    for place, token in enumerate(tokens):
        depths.append(sum(open_brackets))
        if token.kind == "sign" and token.text in "([{":
            name = _called(tokens, place)
            open_brackets.append(name in _MACROS)
            if name in _MACROS:
                macros.append(Macro(sum(open_brackets), name in _COPYING_MACROS))
                bound |= {following.text for following in tokens[place + 1 : place + 2] if following.kind == "name"}
            if name == "matches" and any(open_brackets):
                raise ValueProblem("EXPRESSION_TOO_LARGE", "matches is not offered inside a macro.")
            if len(open_brackets) > MAX_BRACKETS:
                raise ValueProblem("EXPRESSION_TOO_LARGE", f"Brackets are nested more than {MAX_BRACKETS} deep.")
        elif token.kind == "sign" and token.text in ")]}" and open_brackets:
            open_brackets.pop()
    if bound & ROOTS:
        raise ValueProblem("INVALID_EXPRESSION", f"A macro cannot name its variable {min(bound & ROOTS)}.")
    return macros, bound, depths


def _called(tokens: Sequence[_Token], place: int) -> str:
    """The method whose bracket opens here, or empty."""
    if place < 2 or tokens[place].text != "(" or tokens[place - 1].kind != "name":
        return ""
    return tokens[place - 1].text if tokens[place - 2].text == "." else ""


def _paths(tokens: Sequence[_Token], bound: set[str]) -> tuple[list[tuple[str, int]], set[str]]:
    """The paths, each with the place of its first token, and those that `has(…)` asks for."""
    paths: list[tuple[str, int]] = []
    tested: set[str] = set()
    for place, token in enumerate(tokens):
        if token.kind != "name" or token.text in _WORDS | bound or _is_member(tokens, place):
            continue
        segments, end = _chain(tokens, place)
        if not segments:
            continue
        if segments[0] not in ROOTS:
            raise ValueProblem("UNKNOWN_NAME", f"There is no {segments[0]}; known are {', '.join(sorted(ROOTS))}.")
        paths.append((".".join(segments), place))
        if place > 1 and tokens[place - 1].text == "(" and tokens[place - 2].text == "has" and _sign(tokens, end, ")"):
            tested.add(paths[-1][0])
    return paths, tested


def _is_member(tokens: Sequence[_Token], place: int) -> bool:
    return place > 0 and tokens[place - 1].text == "."


def _chain(tokens: Sequence[_Token], place: int) -> tuple[list[str], int]:
    """The path that begins here, without the name of a function, and the place behind it."""
    segments = [tokens[place].text]
    place += 1
    while True:
        if _sign(tokens, place, ".") and place + 1 < len(tokens) and tokens[place + 1].kind == "name":
            segments.append(tokens[place + 1].text)
            place += 2
        elif _sign(tokens, place, "[") and _sign(tokens, place + 2, "]") and (key := _key(tokens[place + 1])):
            segments.append(key)
            place += 3
        else:
            break
    if _sign(tokens, place, "("):
        segments.pop()
    return segments, place


def _sign(tokens: Sequence[_Token], place: int, text: str) -> bool:
    return place < len(tokens) and tokens[place] == _Token("sign", text)


def _key(token: _Token) -> str:
    """What stands in brackets, where it can be a step of a path."""
    text = token.text[1:-1] if token.kind == "string" else token.text if token.kind == "number" else ""
    return text if re.fullmatch(r"[\w-]+", text, re.ASCII) else ""


def _check_costs(tokens: Sequence[_Token], macros: Sequence[Macro]) -> None:
    if any(macro.depth > MAX_NESTED_MACROS for macro in macros):
        raise ValueProblem("EXPRESSION_TOO_LARGE", f"Macros are nested more than {MAX_NESTED_MACROS} deep.")
    texts = [token.text for token in tokens if token.kind != "string"]
    for text, limit in (("matches", MAX_MATCHES), ("?", MAX_CHOICES)):
        if texts.count(text) > limit:
            raise ValueProblem("EXPRESSION_TOO_LARGE", f"{text} is used more than {limit} times.")
