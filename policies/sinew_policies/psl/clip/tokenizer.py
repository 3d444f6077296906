"""Text to CLIP's token ids: byte pairs over the published vocabulary of 49,408 pieces.

The vocabulary file comes with the package open_clip_torch; it is read as data, the package is not imported.
"""

import gzip
import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.machinery import PathFinder
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.errors import CheckpointError, DataError, MissingExtra

VOCABULARY_FILE = "bpe_simple_vocab_16e6.txt.gz"
CONTEXT_LENGTH = 77

_MAX_CHARACTERS = 5000
_MAX_VOCABULARY_BYTES = 16 << 20  # the published file has 3 million

_N_BYTES = 256
_N_MERGES = 49408 - 2 * _N_BYTES - 2  # pieces: bytes, bytes that end a word, merges, the two marks
_END_OF_WORD = "</w>"
_START, _END = "<|startoftext|>", "<|endoftext|>"  # in a text they are ordinary characters
_CONTRACTION = re.compile("'s|'t|'re|'ve|'m|'ll|'d")


class Tokenizer:
    def __init__(self, vocabulary: Path | None = None) -> None:
        """`vocabulary`: the gzipped file of merges; None takes the one of the installed open_clip_torch.

        Raises MissingExtra where neither is there, CheckpointError for a damaged file.
        """
        merges = _read_merges(vocabulary or installed_vocabulary())
        self._symbols = _byte_symbols()
        pieces = list(self._symbols.values())
        pieces = pieces + [p + _END_OF_WORD for p in pieces] + ["".join(m) for m in merges] + [_START, _END]
        self._ids = {piece: i for i, piece in enumerate(pieces)}
        self._ranks = {merge: rank for rank, merge in enumerate(merges)}
        self.start, self.end = self._ids[_START], self._ids[_END]
        self._word_ids = lru_cache(maxsize=8192)(self._encode_word)

    def encode(
        self, texts: str | Sequence[str], *, context_length: int = CONTEXT_LENGTH, truncate: bool = False
    ) -> NDArray[np.int64]:
        """Ids (n, context_length): start, text, end, zeros.

        Raises DataError for no text, an empty or an endless one and, unless `truncate` cuts it, for one that does
        not fit.
        """
        lines = [texts] if isinstance(texts, str) else list(texts)
        if not lines:
            raise DataError("there is no text; describe the goal in words")
        ids = np.zeros((len(lines), context_length), np.int64)
        for row, text in zip(ids, lines, strict=True):
            pieces = self.pieces(text)
            if not pieces:
                raise DataError(f"the text {text!r} is empty; describe the goal in words")
            room = context_length - 2
            if len(pieces) > room and not truncate:
                raise DataError(
                    f"the text {text[:60]!r}… has {len(pieces)} tokens, {room} fit; shorten it or truncate=True"
                )
            pieces = [self.start, *pieces[:room], self.end]
            row[: len(pieces)] = pieces
        return ids

    def pieces(self, text: str) -> list[int]:
        """Ids of the text alone, without marks or padding.

        Raises DataError for a text of over 5000 characters: pieces of a word are merged pair by pair, which takes
        the square of its length.
        """
        if len(text) > _MAX_CHARACTERS:
            raise DataError(
                f"the text {text[:60]!r}… has {len(text)} characters; at most {_MAX_CHARACTERS} fit; shorten it"
            )
        return [i for word in _words(_clean(text)) for i in self._word_ids(word)]

    def _encode_word(self, word: str) -> tuple[int, ...]:
        parts = [self._symbols[b] for b in word.encode(errors="replace")]
        parts[-1] += _END_OF_WORD
        while len(parts) > 1:
            pairs = list(pairwise(parts))
            best = min(pairs, key=lambda pair: self._ranks.get(pair, _N_MERGES))
            if best not in self._ranks:
                break
            parts = _merged(parts, best)
        return tuple(self._ids[part] for part in parts)


def installed_vocabulary() -> Path:
    """Raises MissingExtra where open_clip_torch is not installed."""
    spec = PathFinder.find_spec("open_clip")  # locates the package without importing it
    for folder in (spec.submodule_search_locations if spec else None) or ():
        file = Path(folder) / VOCABULARY_FILE
        if file.is_file():
            return file
    raise MissingExtra("open_clip_torch", "clip")


def _read_merges(file: Path) -> list[tuple[str, str]]:
    try:
        with gzip.open(file) as unpacked:
            lines = unpacked.read(_MAX_VOCABULARY_BYTES).decode().split("\n")[1 : _N_MERGES + 1]
    except (OSError, EOFError, ValueError) as fault:
        raise CheckpointError(
            f"vocabulary {file} cannot be read ({fault}); expected CLIP's {VOCABULARY_FILE}, "
            "which open_clip_torch ships"
        ) from fault
    merges = [(a, b) for a, b in (line.split() for line in lines if line.count(" ") == 1)]
    if len(merges) != _N_MERGES:
        raise CheckpointError(
            f"vocabulary {file} has {len(merges)} merges; expected the {_N_MERGES} of CLIP's {VOCABULARY_FILE}"
        )
    return merges


def _clean(text: str) -> str:
    """Entities resolved, damaged characters repaired, blanks single, lower case."""
    try:
        import ftfy
    except ImportError:
        if not text.isascii():  # plain text has nothing to repair
            raise MissingExtra("ftfy", "clip") from None
        repaired = text
    else:
        repaired = ftfy.fix_text(text)
    return " ".join(html.unescape(html.unescape(repaired)).split()).lower()


def _words(text: str) -> Iterator[str]:
    """Contractions, runs of letters, single digits, runs of anything else that is not blank."""
    at = 0
    while at < len(text):
        contraction = _CONTRACTION.match(text, at)
        if contraction:
            end = contraction.end()
        else:
            kind, end = _kind(text[at]), at + 1
            while kind in "LO" and end < len(text) and _kind(text[end]) == kind:
                end += 1
            if kind == "Z":
                at = end
                continue
        yield text[at:end]
        at = end


def _kind(character: str) -> str:
    """L letter, N number, Z blank, O other."""
    category = unicodedata.category(character)[0]
    if category in "LN":
        return category
    return "Z" if character.isspace() else "O"


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    for part in parts:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return out


def _byte_symbols() -> dict[int, str]:
    """A visible character for each byte, in the vocabulary's order: printable bytes, then others from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(_N_BYTES) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(_N_BYTES + i) for i, b in enumerate(others)}
