"""Words and phrases as they are looked for: whatever their case, width, apostrophes and invisible characters."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache

MAX_LISTED_TEXT = 200_000
MAX_WORDS = 500
WORDS = {
    "type": "array",
    "items": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"\S"},
    "minItems": 1,
    "maxItems": MAX_WORDS,
}
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'"})
_PIECES = re.compile(r"\w+|[^\w\s]")
_SPACES = re.compile(r"\s+")


def normal(text: str) -> str:
    """Compatibility forms (NFKC) casefolded, without format characters, with one space for each gap."""
    composed = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    visible = composed
    if not composed.isascii():
        visible = "".join(character for character in composed if unicodedata.category(character) != "Cf")
    return _SPACES.sub(" ", visible.translate(_APOSTROPHES)).strip()


def found_in(text: str, words: Iterable[str], *, are_whole: bool) -> list[str]:
    """Those words that are in the text, whatever stands in it. Each is looked for once, in linear time."""
    form = _separated if are_whole else normal
    searched = form(text)
    return [word for word in words if _form_of_word(word, form) in searched]


@lru_cache(maxsize=4 * MAX_WORDS)
def _form_of_word(word: str, form: Callable[[str], str]) -> str:
    return form(word)


def _separated(text: str) -> str:
    """With a space on both sides of each word and each other character, so that parts of words are not found."""
    return f" {' '.join(_PIECES.findall(normal(text)))} "
