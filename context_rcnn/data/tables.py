"""Tables that people make with a spreadsheet: CSV in UTF-8, with commas, semicolons or tabs."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

_SEPARATORS = ",;\t"
_SAVE = (
    "save the table as UTF-8 (in Excel: Save As, 'CSV UTF-8 (Comma delimited)'; in LibreOffice: "
    "character set Unicode (UTF-8))"
)


class Table:
    """A table whose first line names its columns.

    The separator is the one that the first line has most of, since spreadsheets of many countries
    write semicolons.

    Args:
        path: path of the table.

    Attributes:
        columns: names of the columns.

    Raises:
        ValueError: With file, line and advice, if the text is not UTF-8.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._text = _read(self.path)
        first = self._text.partition("\n")[0]
        self._separator = max(_SEPARATORS, key=first.count)
        self.columns = [name.strip() for name in self._reader().fieldnames or []]

    def rows(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Each row with its place, as "FILE, line N"; spaces around values are taken away.

        Raises:
            ValueError: If a row has more or fewer values than there are columns.
        """
        reader = self._reader()
        try:
            for row in reader:
                where = f"{self.path}, line {reader.line_num}"
                if None in row or None in row.values():
                    raise ValueError(
                        f"{where}: not as many values as there are columns ({len(self.columns)}); "
                        "put values that contain the separator in quotes"
                    )
                values = (value.strip() for value in row.values())
                yield where, dict(zip(self.columns, values, strict=True))
        except csv.Error as error:
            raise ValueError(f"{self.path}, line {reader.line_num}: {error}") from error

    def _reader(self) -> csv.DictReader:
        return csv.DictReader(io.StringIO(self._text, newline=""), delimiter=self._separator)


def _read(path: Path) -> str:
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is no UTF-8: {_SAVE}"
        ) from None
