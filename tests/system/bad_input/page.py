"""Writes the table of `table.py` into the documentation, in both languages.

`.venv/bin/python -m tests.system.bad_input.page` after a change of the table; `test_page.py` fails until then.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from roadstead.web.errors import PROBLEMS
from tests.system.bad_input.table import SECTIONS

if TYPE_CHECKING:
    from tests.system.bad_input.table import Row

DOCS: Final = Path(__file__).parents[3] / "docs"
BEGIN: Final = "<!-- generated from tests/system/bad_input/table.py: begin -->"
END: Final = "<!-- generated from tests/system/bad_input/table.py: end -->"


@dataclass(frozen=True, slots=True)
class Language:
    """A language of the documentation."""

    code: str
    columns: tuple[str, str, str, str]
    served: str

    @property
    def path(self) -> Path:
        """Its page."""
        return DOCS / self.code / "reference" / "errors.md"

    def text(self, entry: object) -> str:
        """What a row or section says in this language."""
        return str(getattr(entry, self.code))


ENGLISH: Final = Language("en", ("What is sent", "Status", "Code", "The message says"), "served")
CHINESE: Final = Language("zh", ("发送的内容", "状态码", "错误代码", "消息中包含"), "正常响应")
LANGUAGES: Final = (ENGLISH, CHINESE)


def tables(language: Language) -> str:
    """All sections, each with its table."""
    parts: list[str] = []
    for section in SECTIONS:
        lines = [f"### {language.text(section)}", "", f"| {' | '.join(language.columns)} |", "|---|---|---|---|"]
        lines += [line(row, language) for row in section.rows]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def line(row: Row, language: Language) -> str:
    """The line of a row."""
    code = f"`{row.code}`" if row.code else language.served
    message = row.message.replace("|", "\\|")
    said = f"`{message}`" if row.code else headers_of(row)
    return f"| {language.text(row)} | {row.status} | {code} | {said} |"


def headers_of(row: Row) -> str:
    """The headers that say what was done differently, of a row that is served."""
    return ", ".join(f"`{name}: {value}`" for name, value in row.headers.items()) or "-"


def with_tables(page: str, language: Language) -> str:
    """A page with the tables of now."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{language.path} has lost its marks: {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{tables(language)}\n\n{END}{after}"


def known_codes() -> set[str]:
    """The codes that an error of ours is told with."""
    return {str(problem.code) for problem in PROBLEMS.values()} | {"UNKNOWN", "TOOMANYREQUESTS"}


def main() -> None:
    """Write both pages."""
    for language in LANGUAGES:
        language.path.write_text(with_tables(language.path.read_text(), language))


if __name__ == "__main__":
    main()
