"""The table of docs/brokers.md that says how each broker behaves; tests hold each cell against the broker."""

from __future__ import annotations

import re
from pathlib import Path

from documents import table

__all__ = ["BEHAVIOUR", "DOCUMENT", "VERSIONS"]

DOCUMENT = (Path(__file__).parents[2] / "docs/brokers.md").read_text("utf-8")
_HEAD = "| behaviour |"

(_header,) = re.findall(rf"^{re.escape(_HEAD)}.*$", DOCUMENT, re.MULTILINE)
_columns = [cell.split() for cell in _header.strip("|").split("|")[1:]]

VERSIONS = {words[0].lower(): words[-1] for words in _columns}
"""The version of each broker that was measured."""

BEHAVIOUR = {name.strip("`"): dict(zip(VERSIONS, cells, strict=True)) for name, *cells in table(DOCUMENT, _HEAD)}
"""What the table says: behaviour, broker, cell."""
