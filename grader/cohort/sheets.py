"""CSV files that other programs wrote and want back: a cell is changed, every other byte stays."""

from __future__ import annotations

import codecs
import re
import unicodedata
from dataclasses import dataclass

from grader.errors import UsageError

_BOMS = [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")]


@dataclass
class Sheet:
    """A table as raw cells, quotes and all. The first row is the header."""

    rows: list[list[str]]
    ends: list[str]
    delimiter: str
    encoding: str
    bom: bytes

    @classmethod
    def parse(cls, data: bytes, name: str) -> Sheet:
        """Read a CSV file of any usual encoding, delimiter and line end; UsageError when it is no table."""
        bom, encoding = next(((mark, code) for mark, code in _BOMS if data.startswith(mark)), (b"", "utf-8"))
        try:
            text = data[len(bom) :].decode(encoding)
        except UnicodeDecodeError:
            if bom:
                raise UsageError(f"{name} is not the {encoding} text that its first bytes promise.") from None
            encoding = "cp1252"  # what Excel writes in the west when it is not asked for UTF-8
            try:
                text = data.decode(encoding)
            except UnicodeDecodeError:
                raise UsageError(f"{name} is not a CSV file.") from None
        if not text.strip() or "\0" in text:
            raise UsageError(f"{name} is not a CSV file.")
        head = re.sub(r'"(?:[^"]|"")*"', "", text.splitlines()[0])
        delimiter = max(",;\t", key=head.count)
        cell = re.compile(rf'("(?:[^"]|"")*+"|[^{delimiter}\r\n]*)({delimiter}|\r\n|\n|\r|\Z)')
        rows: list[list[str]] = []
        ends: list[str] = []
        row: list[str] = []
        position = 0
        while position < len(text) or row:
            found = cell.match(text, position)
            if found is None:
                raise UsageError(f"{name}, row {len(rows) + 1}: a quoted cell goes on after its closing quote.")
            position = found.end()
            row.append(found[1])
            if found[2] != delimiter:
                rows.append(row)
                ends.append(found[2])
                row = []
        return cls(rows, ends, delimiter, encoding, bom)

    def value(self, row: int, column: int) -> str:
        """Return what a cell says; '' where the row is shorter."""
        cells = self.rows[row]
        return unquoted(cells[column]) if column < len(cells) else ""

    def header(self) -> list[str]:
        """The first row's values."""
        return [unquoted(cell).strip() for cell in self.rows[0]]

    def put(self, row: int, column: int, value: str) -> None:
        """Change one cell; it is quoted where it was or has to be."""
        cells = self.rows[row]
        cells += [""] * (column + 1 - len(cells))
        must = self.delimiter in value or '"' in value or cells[column].startswith('"')
        cells[column] = '"' + value.replace('"', '""') + '"' if must else value

    def keep(self, columns: list[int]) -> None:
        """Leave out every other column."""
        self.rows = [[row[column] if column < len(row) else "" for column in columns] for row in self.rows]

    def render(self) -> bytes:
        """Return the file, in its own encoding."""
        text = "".join(self.delimiter.join(row) + end for row, end in zip(self.rows, self.ends, strict=True))
        return self.bom + text.encode(self.encoding)


def unquoted(cell: str) -> str:
    """Return a raw cell's value."""
    return cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def plain(text: str) -> str:
    """Return a name or a heading with only its letters and digits, for comparison: LMSs differ in everything else."""
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    return "".join(char for char in decomposed if char.isalnum())
