"""Pages of the documentation as tests see them: headings, anchors, links, blocks of code, commands."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
LANGUAGES: Final = ("en", "zh")

_FENCE: Final = re.compile(r"^( *)(`{3,}|~{3,})\s*([\w-]*)\s*$")
_HEADING: Final = re.compile(r"^(#{1,6}) (.+?)\s*#*$")
_LINK: Final = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_CODE_SPAN: Final = re.compile(r"(`+)(.+?)\1")
_DROPPED: Final = re.compile(r"[^\w\- ]")
_VARIABLE: Final = re.compile(r"[A-Za-z_]\w*=")
_PROMPTS: Final = ("$ ", "# ")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text without the fence's indentation, and the line it begins at."""

    language: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Page:
    """A Markdown file."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> Page:
        """The page in a file."""
        return cls(path, path.read_text(encoding="utf-8"))

    @property
    def name(self) -> str:
        """The path as people say it."""
        return str(self.path.relative_to(ROOT))

    def blocks(self) -> Iterator[Block]:
        """The fenced blocks, in order."""
        for language, first, lines in _parts(self.text):
            if language is not None:
                yield Block(language, "\n".join(lines), first)

    def prose(self) -> str:
        """The text without the fenced blocks."""
        return "\n".join(line for language, _, lines in _parts(self.text) if language is None for line in lines)

    def headings(self) -> list[tuple[int, str]]:
        """Level and text of each heading."""
        found = [_HEADING.match(line) for line in self.prose().splitlines()]
        return [(len(match[1]), match[2]) for match in found if match]

    def anchors(self) -> set[str]:
        """What a link into this page may name, as GitHub makes it from headings."""
        seen: Counter[str] = Counter()
        anchors: set[str] = set()
        for _, text in self.headings():
            slug = _DROPPED.sub("", _plain(text).lower()).replace(" ", "-")
            anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        return anchors

    def links(self) -> list[str]:
        """The targets of links and images in the prose."""
        return _LINK.findall(_CODE_SPAN.sub("", self.prose()))

    def code_spans(self) -> list[str]:
        """Code within the prose."""
        return [match[2].strip() for match in _CODE_SPAN.finditer(self.prose())]

    def commands(self) -> Iterator[list[str]]:
        """The shell commands of the page's blocks, in words; the parts of a pipeline are commands of their own."""
        for block in self.blocks():
            if block.language == "console":
                lines = [line[2:] for line in block.text.splitlines() if line.startswith(_PROMPTS)]
            elif block.language in {"sh", "bash"}:
                lines = block.text.replace("\\\n", " ").splitlines()
            else:
                continue
            for line in lines:
                yield from split_commands(line)


def pages(language: str) -> dict[str, Page]:
    """The pages of a language, by their path below its folder."""
    folder = DOCS / language
    return {str(path.relative_to(folder)): Page.read(path) for path in sorted(folder.rglob("*.md"))}


def all_pages() -> list[Page]:
    """Every Markdown file that readers get."""
    return [Page.read(path) for path in sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])]


def split_commands(line: str) -> Iterator[list[str]]:
    """The simple commands of a shell line, without assignments, ``sudo`` and ``exec`` before them."""
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;()")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words = list(lexer)
    except ValueError:  # prose in a code span, such as an apostrophe
        return
    command: list[str] = []
    for word in [*words, ";"]:
        if set(word) <= set("|&;()"):
            if stripped := _strip(command):
                yield stripped
            command = []
        else:
            command.append(word)


def _strip(command: list[str]) -> list[str]:
    while command:
        if _VARIABLE.match(command[0]) or command[0] in {"exec", "export", "env"}:
            command = command[1:]
        elif command[:2] == ["sudo", "-u"]:
            command = command[3:]
        elif command[0] == "sudo":
            command = command[1:]
        else:
            break
    return command


def _plain(text: str) -> str:
    """A heading without the marks of links, code and emphasis."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("`", "").replace("*", "")


def _parts(text: str) -> Iterator[tuple[str | None, int, list[str]]]:
    """Prose (None) and fenced blocks (their language) in turn, with the number of their first line."""
    language: str | None = None
    fence, indent = "", 0
    first, lines = 1, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        match = _FENCE.match(line)
        if match and (not fence or (match[2].startswith(fence) and not match[3])):
            yield language, first, lines
            first, lines = number + 1, []
            language, fence, indent = (None, "", 0) if fence else (match[3], match[2], len(match[1]))
        else:
            lines.append(line[indent:] if line[:indent].isspace() else line)
    yield language, first, lines
