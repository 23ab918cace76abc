"""Text from outside: files with a byte order mark, TOML of any content, control characters."""

from __future__ import annotations

import codecs
import io
import math
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

# How hyperparameters are shown to people.
SYMBOLS = {"alpha": "α", "beta": "β", "gamma0": "γ0", "eta": "η", "kappa": "κ"}

# What is said below a command whose address lacks its password.
ADDRESS_HINT = (
    "(the password is not shown: put it into ~/.pgpass, or use INDIAN_TUNE_STORAGE with the "
    "whole address instead of --storage)"
)

# Categories of what a terminal acts on or a page reorders by, and of what cannot be encoded.
_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")


# What a console that lacks a character is given instead; of one character where a table is drawn.
_SUBSTITUTES = str.maketrans(
    {
        **{"α": "a", "β": "b", "γ": "g", "δ": "d", "Δ": "D", "η": "n", "κ": "k", "σ": "s"},
        **{"→": ">", "←": "<", "…": ".", "–": "-", "—": "-", "−": "-", "×": "x", "•": "*"},
        **{"·": ".", "±": "+", "≤": "<=", "≥": ">=", "≈": "~", "½": "1/2", "¼": "1/4"},
        **{"“": '"', "”": '"', "‘": "'", "’": "'", "∞": "inf"},
    }
)


def with_article(noun: str) -> str:
    """Return a noun after "a" or "an", chosen by its first letter."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def plain_number(value: float) -> str:
    """Return a number as text, a whole one with all its digits."""
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def in_column(values: Sequence[float | None], digits: int = 4) -> list[str]:
    """Return numbers of one column with as many decimals each; a dash for none.

    Numbers of very different sizes keep decimals of their own, of which there would be too many.

    Args:
        values: the numbers.
        digits: significant ones that each number has at least, unless its last ones are 0.
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    short = [f"{value:.{digits}g}" for value in known]
    decimals = max((len(text.partition(".")[2]) for text in short), default=0)
    whole = max((len(f"{abs(value):.0f}") for value in known if abs(value) >= 1), default=0)
    alike = not any("e" in text for text in short) and whole + decimals <= digits + 2
    form = f".{decimals}f" if alike else f".{digits}g"
    return [
        "–" if value is None or not math.isfinite(value) else f"{value + 0.0:{form}}"
        for value in values
    ]


def unused_path(path: Path) -> Path:
    """Return a path like this one that does not exist yet: ``report-2`` for ``report``."""
    number = 2
    while (other := path.with_name(f"{path.stem}-{number}{path.suffix}")).exists():
        number += 1
    return other


def tolerate_encodings() -> None:
    """Let standard output and error write other characters for those that their encoding lacks."""
    codecs.register_error("indian_tune.substitute", _substitute)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="indian_tune.substitute")


def _substitute(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lost = error.object[error.start : error.end].translate(_SUBSTITUTES)
    plain = lost.encode("ascii", "backslashreplace").decode("ascii")
    return plain, error.end


def read_text(path: Path) -> str:
    """Return a text file's content, without the byte order mark that some editors write.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: the file is not UTF-8.
    """
    return path.read_text(encoding="utf-8-sig")


def read_toml(text: str) -> dict[str, Any]:
    """Return what a TOML text says.

    Raises:
        tomllib.TOMLDecodeError: the text is not valid TOML, or no program should have to read it.
    """
    # Not needed by commands that read no file, which import this module all the same.
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError as error:
        raise tomllib.TOMLDecodeError("tables or lists are nested too deeply") from error
    except ValueError as error:
        # Python refuses to convert integers of thousands of digits.
        raise tomllib.TOMLDecodeError("a number has too many digits") from error


def read_json(text: str) -> Any:
    """Return what a JSON text says.

    Raises:
        json.JSONDecodeError: the text is not valid JSON, or no program should have to read it.
    """
    import json

    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise json.JSONDecodeError("objects or lists are nested too deeply", text, 0) from error
    except ValueError as error:
        # Python refuses to convert integers of thousands of digits.
        raise json.JSONDecodeError("a number has too many digits", text, 0) from error


def digest_of(plain: Any) -> str:
    """Return the SHA-256 of plain data, the same whatever the order of its keys is."""
    import hashlib
    import json

    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number of things in words: ``1 seed``, ``1,200 seeds``; the plural if irregular."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def some(names: Iterable[object], most: int) -> str:
    """Return names in a row; of many, the first, and how many more there are."""
    texts = list(map(str, names))
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def printable(text: str) -> str:
    """Return a text with control characters written as escapes; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        char
        if char in "\n\t" or unicodedata.category(char) not in _UNPRINTABLE
        else char.encode("unicode_escape", "surrogatepass").decode("ascii")
        for char in text
    )


def storable(text: str, most: int) -> str:
    """Return a text that every database can hold.

    PostgreSQL refuses NUL, no database takes half of a surrogate pair: both become escapes. Of a
    text that is too long (a model's message may print its tensors) the middle is left out.

    Args:
        text: that others wrote.
        most: how many characters it may have.
    """
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", r"\x00")
    if len(plain) <= most:
        return plain
    end = most // 2
    return f"{plain[: most - end - 1]}…{plain[-end:]}"
