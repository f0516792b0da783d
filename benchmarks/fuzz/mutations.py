"""Ways to damage a file: its bytes, the values of its JSON, a single value of its SQL, or what kind of file it is."""

import contextlib
import gzip
import hashlib
import json
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medclip.files.sealed import sealed, unsealed

__all__ = ["mutate_bytes", "mutate_export", "mutate_file", "mutate_json", "reseal", "resign"]

_DEEP = "@deep@"
_NAN = "@nan@"
_STRANGE: tuple[Callable[[], Any], ...] = (
    lambda: None,
    lambda: True,
    lambda: 0,
    lambda: -1,
    lambda: 2**31,
    lambda: 2**63,
    lambda: 10**400,
    lambda: 1e308,
    lambda: 0.5,
    lambda: _NAN,
    lambda: "",
    lambda: "x" * 300_000,
    lambda: "\x00\x1b[2J\r\n",
    lambda: "\ud800",
    lambda: "../../beside/target",
    lambda: "/etc/hostname",
    lambda: "%s%n{0}",
    list,
    dict,
    lambda: [[]],
    lambda: {"": None},
    lambda: [0] * 50_000,
    lambda: _DEEP,
)


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """Truncate, flip bits, overwrite a run, splice out or double a part."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        kind = rng.randrange(6)
        at = rng.randrange(len(data)) if rng.random() < 0.4 else rng.randrange(min(len(data), 2000))
        if kind == 0 and len(data) > 200:
            del data[rng.randrange(100, len(data)) :]
        elif kind in (1, 2):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 3:
            run = bytes(rng.choice((0, 255, 127, rng.randrange(256))) for _ in range(rng.choice((1, 2, 4, 8, 16))))
            data[at : at + len(run)] = run
        elif kind == 4:
            del data[at : at + rng.randrange(1, 64)]
        else:
            data[at:at] = data[at : at + rng.randrange(1, 64)]
        if not data:
            data = bytearray(b"\0")
    return bytes(data)


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """(container, key) of every value inside."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        found.append((value, key))
        _places(inner, found)
    return found


def _spelled(value: Any) -> str:
    text = json.dumps(value)
    return text.replace(json.dumps(_DEEP), "[" * 50_000 + "]" * 50_000).replace(json.dumps(_NAN), "NaN")


def mutate_json(text: str, rng: random.Random) -> str:
    """Replace, delete or double a value; or spell it as no JSON should be."""
    value = json.loads(text)
    for _ in range(rng.choice((1, 1, 1, 3))):
        places = _places(value, [])
        if not places or rng.random() < 0.03:
            value = rng.choice(_STRANGE)()
            break
        container, key = rng.choice(places)
        kind = rng.randrange(8)
        if kind == 0:
            del container[key]
        elif kind == 1 and isinstance(container, dict):
            container[rng.choice(("", "\x00", str(key).upper(), "__proto__", "x" * 3000))] = container.pop(key)
        elif kind == 2 and isinstance(container, list):
            container.insert(rng.randrange(len(container) + 1), container[key])
        elif kind == 3:
            container[key] = rng.choice(places)[1]
        else:
            container[key] = rng.choice(_STRANGE)()
    spelled = _spelled(value)
    return rng.choice(("", "", "", "", "", "", "\ufeff", "[", "{}\n")) + spelled


def mutate_lines(content: bytes, rng: random.Random) -> bytes:
    """One or two JSON lines, doubled, damaged or mutated as JSON."""
    lines = content.decode().splitlines()
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(lines))
        kind = rng.randrange(8)
        if kind == 0:
            lines.insert(rng.randrange(len(lines) + 1), lines[at])
        elif kind == 1:
            lines[at] = mutate_bytes(lines[at].encode() or b"\0", rng).decode(errors="replace")
        else:
            with contextlib.suppress(ValueError, RecursionError):
                lines[at] = mutate_json(lines[at], rng)
    end = rng.choice(("\n", "\n", "\n", "\r\n", "\n\n", "\u2028"))
    return (end.join(lines) + end).encode("utf-8", "surrogatepass")


def mutate_sql(path: Path, rng: random.Random) -> None:
    """Change one value, row or table of a database, past its own constraints where SQLite lets."""
    database = sqlite3.connect(path)
    try:
        database.execute("PRAGMA ignore_check_constraints = ON")
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = rng.choice([name for name in names if not name.startswith("sqlite_")])
        columns = [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]
        rows = [row for (row,) in database.execute(f'SELECT rowid FROM "{table}"')] if table != "words_config" else []
        with database:
            kind = rng.randrange(12)
            if kind == 0:
                database.execute(f'DROP TABLE "{table}"')
            elif kind == 1 or not rows:
                database.execute(f'DELETE FROM "{table}"')
            elif kind == 2:
                database.execute(f'DELETE FROM "{table}" WHERE rowid = ?', (rng.choice(rows),))
            else:
                row, column = rng.choice(rows), rng.choice(columns)
                (old,) = database.execute(f'SELECT "{column}" FROM "{table}" WHERE rowid = ?', (row,)).fetchone()
                database.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?', (_value(old, rng), row))
    except sqlite3.Error:
        path.write_bytes(mutate_bytes(path.read_bytes(), rng))
    finally:
        database.close()


def _value(old: Any, rng: random.Random) -> Any:
    """A value of the same type, mostly: the tables are strict."""
    if isinstance(old, bytes) and old and rng.random() < 0.9:
        return mutate_bytes(old, rng)
    if isinstance(old, str) and rng.random() < 0.9:
        with contextlib.suppress(ValueError, RecursionError):
            mutated = mutate_json(old, rng)
            mutated.encode()
            return mutated
        return rng.choice(("", "\x00", "x" * 100_000, "{}", "-1", "9" * 30, "../../beside/target"))
    if isinstance(old, int) and rng.random() < 0.9:
        return rng.choice((0, -1, 1, old + 1, 2**31, 2**63 - 1, -(2**63)))
    return rng.choice((None, 0, -1, 2**62, 0.5, "", b"", b"\0" * 1000))


def mutate_export(content: bytes, rng: random.Random) -> bytes:
    """An export: the compressed bytes, or what is inside, with a checksum that fits as often as not."""
    if rng.random() < 0.3:
        return mutate_bytes(content, rng)
    lines = gzip.decompress(content).decode().splitlines()
    kind = rng.randrange(8)
    at = rng.randrange(1, len(lines))
    if kind == 0:
        lines[0] = mutate_json(lines[0], rng)
    elif kind == 1:
        lines[at] = mutate_bytes(lines[at].encode(), rng).decode(errors="replace")
    elif kind == 2:
        lines.insert(at, lines[rng.randrange(1, len(lines))])
    elif kind == 3:
        lines.insert(at, " " * rng.choice((0, 1, 60_000_000)))
    else:
        line = mutate_json(lines[at].partition(" ")[2], rng)
        checksum = hashlib.sha256(line.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        lines[at] = f"{checksum} {line}"
    return gzip.compress(("\n".join(lines) + "\n").encode("utf-8", "surrogatepass"), 1)


def _replace_kind(path: Path, beside: Path, rng: random.Random) -> None:
    """Another kind of file in its place; what a link leads to is watched."""
    content = path.read_bytes()
    path.unlink()
    kind = rng.randrange(7)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        path.touch()
    elif kind == 3:
        path.symlink_to(path.name)
    elif kind in (4, 5):
        (beside / "target").write_bytes(content)
        path.symlink_to(beside / "target")
    # else: it is missing


def mutate_file(path: Path, beside: Path, rng: random.Random) -> None:
    """Damage one file as suits it.

    Args:
        beside: a folder outside of what is read, for what links lead to.
    """
    if rng.random() < 0.12:
        _replace_kind(path, beside, rng)
        return
    if rng.random() < 0.05:
        others = [other for other in sorted(path.parent.iterdir()) if other.is_file() and other != path]
        if others:
            path.write_bytes(rng.choice(others).read_bytes())
            return
    content = path.read_bytes()
    if path.suffix == ".json" and rng.random() < 0.8:
        with contextlib.suppress(ValueError, RecursionError):
            path.write_bytes(mutate_json(content.decode(), rng).encode("utf-8", "surrogatepass"))
            return
    if path.suffix == ".sqlite" and rng.random() < 0.8:
        mutate_sql(path, rng)
        return
    if path.suffix == ".jsonl" and rng.random() < 0.9:
        path.write_bytes(mutate_lines(content, rng))
        return
    path.write_bytes(mutate_bytes(content or b"\0", rng))


def resign(serving: Path) -> None:
    """Make the checksums of a serving folder fit its files again, as whoever made it on purpose would."""
    manifest = serving / "serving.json"
    with contextlib.suppress(ValueError, OSError, AttributeError, TypeError, KeyError, RecursionError):
        if not manifest.is_file():
            return
        stated = json.loads(manifest.read_bytes())
        for name in stated["sha256"]:
            file = serving / name
            if file.is_file():
                stated["sha256"][name] = hashlib.sha256(file.read_bytes()).hexdigest()
        manifest.write_text(_spelled(stated))


def reseal(path: Path) -> None:
    """The same for a file that holds its own checksum."""
    with contextlib.suppress(ValueError, OSError, RecursionError):
        if path.suffix == ".json" and path.is_file() and not path.is_symlink():
            stated = unsealed(json.loads(path.read_bytes()))
            if stated.seal == "broken":
                path.write_text(json.dumps(sealed(stated.value)))
