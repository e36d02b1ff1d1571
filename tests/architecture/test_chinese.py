"""The Chinese pages: full-width punctuation, and one word for one thing as their list of terms says."""
# ruff: noqa: RUF001 - Chinese punctuation is meant

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest
import yaml

from tests.architecture.pages import DOCS, ROOT, Page, pages

if TYPE_CHECKING:
    from collections.abc import Iterator

HAN: Final = "\u3400-\u9fff"
HIDDEN: Final = re.compile(r"`+.+?`+|\]\([^)]*\)|https?://[^\s，。；）]+|<!--.*?-->")
"""Code, the targets of links and addresses: what follows its own rules."""

HALF_WIDTH: Final = (
    (re.compile(rf"[{HAN}”）](?! : ) ?[,;:!?](?!//)"), "a half-width mark after Chinese: ，；：！？"),
    (re.compile(rf"[,;:!?](?=[{HAN}])"), "a half-width mark before Chinese: ，；：！？"),
    (re.compile(rf"\([^()]*[{HAN}][^()]*\)|[{HAN}]\("), "half-width brackets around Chinese: （）"),
    (re.compile(rf"[{HAN}]\.(?:\s|$)"), "a full stop after Chinese: 。"),
    (re.compile(rf'"[^"]*[{HAN}][^"]*"'), "straight quotes around Chinese: “”"),
    (re.compile(rf"[{HAN}]\s*\.\.\.|[{HAN}]…(?!…)(?=[{HAN}])"), "an ellipsis within Chinese: ……"),
)

WORDS: Final = (
    (re.compile(r"(?<![\w/.#-])blobs?(?![\w/=-])"), "数据块"),
    (re.compile(r"(?<![\w/.:#-])(?:registry|registries)(?![\w/.:=-])"), "镜像仓库"),
    (re.compile(r"(?<![\w/.#-])(?:repository|repositories)(?![\w/.=-])"), "仓库"),
    (re.compile(r"(?<![\w/.#-])manifests?(?![\w/.=-])"), "清单"),
)
"""English words that have a Chinese one; names of programs, such as registry:2, keep theirs."""


def chinese_pages() -> list[Page]:
    return [Page.read(ROOT / "README.zh-CN.md"), *pages("zh").values()]


def lines(page: Page) -> Iterator[str]:
    """The lines of a page's prose that have Chinese in them, without code and targets."""
    for line in page.prose().splitlines():
        if re.search(f"[{HAN}]", line):
            yield HIDDEN.sub("`", line)


def rows(page: Page) -> list[list[str]]:
    """The cells of each row of the page's tables, without heads and rules."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.prose().splitlines() if "|" in line]
    return [row for row in found[2:] if len(row) > 1]


def avoided() -> dict[str, str]:
    """Each word that is not used, with the one that is."""
    return {
        word: term
        for _, term, _, words in rows(Page.read(DOCS / "zh" / "reference" / "terms.md"))
        for word in words.split("、")
    }


def each_page() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", chinese_pages(), ids=lambda page: page.name)


@each_page()
def test_punctuation_is_full_width(page: Page) -> None:
    wrong = [f"{line}\n  {what}" for line in lines(page) for pattern, what in HALF_WIDTH if pattern.search(line)]
    assert not wrong, "\n".join(wrong)


@each_page()
def test_one_word_for_one_thing(page: Page) -> None:
    if page.name.endswith("terms.md"):
        return  # it lists them
    words = avoided()
    wrong = [
        f"{line}\n  say {term}, not {word}" for line in lines(page) for word, term in words.items() if word in line
    ]
    wrong += [f"{line}\n  say {term}" for line in lines(page) for pattern, term in WORDS if pattern.search(line)]
    assert not wrong, "\n".join(wrong)


def test_both_lists_have_the_same_terms() -> None:
    english = [(term, chinese) for term, chinese, _ in rows(Page.read(DOCS / "en" / "reference" / "terms.md"))]
    chinese = [(term, word) for term, word, _, _ in rows(Page.read(DOCS / "zh" / "reference" / "terms.md"))]
    assert english == chinese


@pytest.mark.parametrize("name", ["settings.zh.yaml", "registry2-keys.zh.yaml"])
def test_translations_keep_to_both(name: str) -> None:
    table = yaml.safe_load((DOCS / name).read_text(encoding="utf-8"))
    texts = [entry["zh"] if isinstance(entry, dict) else str(entry) for entry in table.values()]
    shown = Page(DOCS / name, "\n".join(texts))
    wrong = [line for line in lines(shown) for pattern, _ in HALF_WIDTH if pattern.search(line)]
    wrong += [line for line in lines(shown) for word in avoided() if word in line]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "推送,然后拉取。",
        "注意: 先备份。",
        "清单(manifest)是文档。",
        '他说"完成"。',
        "到此为止.",
    ],
)
def test_half_width_marks_are_seen(text: str) -> None:
    assert any(pattern.search(text) for pattern, _ in HALF_WIDTH)


@pytest.mark.parametrize(
    "text",
    ["版本 0.2：`a, b` 与 c。", "见 [设置](a.md#b)，以及 HTTP/1.1。", "`(数据)` 是代码。", "roadstead : 上限 : nginx"],
)
def test_what_is_right_is_left_alone(text: str) -> None:
    assert not any(pattern.search(HIDDEN.sub("`", text)) for pattern, _ in HALF_WIDTH)
