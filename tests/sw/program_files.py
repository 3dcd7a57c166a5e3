"""Damage to program files that their checksum does not show."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path

__all__ = ["changed"]

_PREFIX = struct.Struct("<8sIQQ")


def changed(path: Path, old: bytes, new: bytes) -> None:
    """Change the text of a file's header, and make lengths and checksum right again."""
    data = path.read_bytes()[:-32]
    magic, version, size, code_size = _PREFIX.unpack_from(data)
    text = zlib.decompress(data[_PREFIX.size : _PREFIX.size + size])
    assert text.count(old) >= 1
    text = zlib.compress(text.replace(old, new, 1))
    code = data[_PREFIX.size + size :]
    body = _PREFIX.pack(magic, version, len(text), code_size) + text + code
    path.write_bytes(body + hashlib.sha256(body).digest())
