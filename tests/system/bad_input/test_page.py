"""The pages about errors say what the server does: a row without its line, or a code without its meaning, fails."""

from __future__ import annotations

import re

import pytest

from tests.system.bad_input import page
from tests.system.bad_input.table import SECTIONS

languages = pytest.mark.parametrize("language", page.LANGUAGES, ids=lambda language: str(language.code))


@languages
def test_the_page_has_the_table_of_now(language: page.Language) -> None:
    text = language.path.read_text()
    missing = [row.name for section in SECTIONS for row in section.rows if page.line(row, language) not in text]
    assert not missing, f"{missing}: run `.venv/bin/python -m tests.system.bad_input.page`"
    assert page.with_tables(text, language) == text, "run `.venv/bin/python -m tests.system.bad_input.page`"


@languages
def test_the_page_explains_each_code(language: page.Language) -> None:
    explained = set(re.findall(r"^\| `([A-Z_]+)` \|", language.path.read_text(), re.MULTILINE))
    assert explained == page.known_codes()


def test_rows_differ_in_both_languages() -> None:
    for language in page.LANGUAGES:
        lines = [language.text(row) for section in SECTIONS for row in section.rows]
        assert len(set(lines)) == len(lines)
