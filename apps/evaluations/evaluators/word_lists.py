"""Words and phrases as they are looked for: whatever their case, width, apostrophes and invisible characters."""

import re
import unicodedata
from collections.abc import Iterable
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
_SPACES = re.compile(r"\s+")


def normal(text: str) -> str:
    """Compatibility forms (NFKC) casefolded, without format characters, with one space for each gap."""
    composed = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    visible = composed
    if not composed.isascii():
        visible = "".join(character for character in composed if unicodedata.category(character) != "Cf")
    return _SPACES.sub(" ", visible.translate(_APOSTROPHES)).strip()


def found_in(text: str, words: Iterable[str], *, are_whole: bool) -> list[str]:
    """Those words that are in the text; both are normalized here."""
    searched = normal(text)
    return [word for word in words if _is_in(searched, _normal_word(word), are_whole=are_whole)]


@lru_cache(maxsize=4 * MAX_WORDS)
def _normal_word(word: str) -> str:
    return normal(word)


def _is_in(text: str, word: str, *, are_whole: bool) -> bool:
    if not word:
        return False
    start = text.find(word)
    while start >= 0:
        end = start + len(word)
        if not are_whole or not (_is_letter(text[start - 1 : start]) or _is_letter(text[end : end + 1])):
            return True
        start = text.find(word, start + 1)
    return False


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == "_"
