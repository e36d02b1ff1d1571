"""Documentation is a test: what the product has is on its page, in both languages, and what the pages show exists."""

from __future__ import annotations

import ast
import configparser
import itertools
import json
import re
import subprocess
import tomllib
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import click
import msgspec
import pytest
import yaml

from docs import generate
from roadstead.cli import program
from roadstead.config import describe_settings, load_settings
from roadstead.config.registry2 import KEYS
from roadstead.oci import ErrorCode
from roadstead.telemetry import AccessRecord, Metrics
from roadstead.web.errors import PROBLEMS
from tests.architecture.pages import DOCS, LANGUAGES, ROOT, Block, Page, all_pages, pages, split_commands

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client import Metric

THIS_MACHINE: Final = {"localhost", "127.0.0.1", "0.0.0.0", "[::1]"}
DEFAULTS: Final = {str(urlsplit(setting.default).hostname) for setting in describe_settings()}
"""Hosts that the program itself has as a default, such as that of the public ACME server."""
KEY_NAMES: Final = {key.path for key in KEYS}
"""Keys of registry:2, of which ``http.net`` looks like a host."""
HOST: Final = re.compile(r"\b(?:[a-z0-9-]+\.)+(?:com|org|net|io|dev|cn|local|lan|internal|corp)\b", re.IGNORECASE)
URL: Final = re.compile(r"\b(?:https?|oci|docker)://([^\s/:\"'`)<>]+)")


def each_language() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("language", LANGUAGES)


def page(language: str, name: str) -> Page:
    path = DOCS / language / name
    assert path.exists(), f"write {path.relative_to(ROOT)}"
    return Page.read(path)


def rows(shown: Page) -> dict[str, list[str]]:
    """The rows of all tables whose first cell is code, by that code."""
    found: dict[str, list[str]] = {}
    for line in shown.prose().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for name in re.findall(r"`([^`]+)`", cells[0]) if cells else ():
            found[name] = cells
    return found


# ── Two languages ─────────────────────────────────────────────────────────────────────────────────────────────


def test_both_languages_have_the_same_pages() -> None:
    english, chinese = set(pages("en")), set(pages("zh"))
    assert english == chinese, f"write in the other language: {sorted(english ^ chinese)}"


@pytest.mark.parametrize(
    ("english", "chinese"),
    [(f"docs/en/{name}", f"docs/zh/{name}") for name in pages("en") if name in pages("zh")]
    + [("README.md", "README.zh-CN.md")],
)
def test_both_languages_have_the_same_structure(english: str, chinese: str) -> None:
    one, other = Page.read(ROOT / english), Page.read(ROOT / chinese)
    assert [level for level, _ in one.headings()] == [level for level, _ in other.headings()], "same headings, in order"
    assert [block.language for block in one.blocks()] == [block.language for block in other.blocks()], "same blocks"
    commands = [[words[0] for words in each.commands()] for each in (one, other)]
    assert commands[0] == commands[1], "same commands"


# ── What the product has is on its page ───────────────────────────────────────────────────────────────────────


def test_generated_pages_are_up_to_date() -> None:
    stale = [
        str(path.relative_to(ROOT))
        for path, text in generate.pages().items()
        if path.read_text(encoding="utf-8") != text
    ]
    assert not stale, f"run `python docs/generate.py`: {stale}"


@each_language()
def test_every_setting_has_its_heading(language: str) -> None:
    headings = {text for _, text in page(language, "reference/settings.md").headings()}
    missing = [setting.key for setting in describe_settings() if setting.key not in headings]
    assert not missing, f"run `python docs/generate.py`: {missing}"


def families() -> list[Metric]:
    """Every family of metrics, with samples of those that have none before the first request."""
    metrics = Metrics("0")
    metrics.requests.count("base", "GET", 200, 0.1, 1, 1)
    metrics.storage_action("filesystem", "Reader").observe(0.1)
    metrics.count_refusal("connections")
    metrics.count_scrub_damage("blob")
    metrics.count_collected("blob", 1)
    metrics.notifications.count("ci", "Events")
    metrics.notifications.count_status("ci", 200)
    metrics.notifications.set_pending("ci", 0)
    return list(metrics.registry.collect())


def metric_facts(family: Metric) -> tuple[str, str, set[str]]:
    """Name, type and labels as a scrape shows them."""
    labels = {label for sample in family.samples for label in sample.labels} - {"le"}
    if family.type == "counter":
        return f"{family.name}_total", "counter", labels
    if family.type == "info":
        return f"{family.name}_info", "gauge", labels
    return family.name, family.type, labels


@each_language()
def test_every_metric_has_its_row(language: str) -> None:
    table = rows(page(language, "reference/metrics.md"))
    for name, kind, labels in map(metric_facts, families()):
        assert name in table, f"add a row for {name}"
        assert table[name][1] == kind, name
        assert set(re.findall(r"`(\w+)`", table[name][2])) == labels, name


@each_language()
def test_no_metric_is_described_that_does_not_exist(language: str) -> None:
    known = {metric_facts(family)[0] for family in families()}
    described = {name for name in rows(page(language, "reference/metrics.md")) if "_" in name}
    assert described <= known, f"remove {sorted(described - known)}"


@each_language()
def test_every_error_code_has_its_row(language: str) -> None:
    text = page(language, "reference/errors.md").text
    codes = {problem.code for problem in PROBLEMS.values()} | {ErrorCode.UNKNOWN}
    missing = sorted(code for code in codes if f"`{code}`" not in text)
    assert not missing, f"add a row: {missing}"


@each_language()
def test_every_field_of_the_access_log_has_its_row(language: str) -> None:
    table = rows(page(language, "reference/logs.md"))
    fields = {field.name for field in msgspec.structs.fields(AccessRecord)} | {"event"}
    assert fields <= set(table), f"add a row: {sorted(fields - set(table))}"


def logged_events() -> set[str]:
    """The fixed words of everything that the server logs from level info on."""
    events: set[str] = set()
    for module in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="_log"), attr="info" | "warning" | "error"),
                    args=[ast.Constant(value=str(event)), *_],
                ):
                    events.add(event)
    return events


@each_language()
def test_every_event_is_described(language: str) -> None:
    table = rows(page(language, "reference/logs.md"))
    missing = sorted(logged_events() - set(table))
    assert not missing, f"say what they mean: {missing}"


# ── What the pages show exists ────────────────────────────────────────────────────────────────────────────────


def is_there(shown: Page, target: str) -> bool:
    path, _, anchor = unquote(target).partition("#")
    file = (shown.path.parent / path).resolve() if path else shown.path
    if not file.exists():
        return False
    return not anchor or file.suffix != ".md" or anchor in Page.read(file).anchors()


@pytest.mark.parametrize("shown", all_pages(), ids=lambda shown: shown.name)
def test_every_relative_link_leads_somewhere(shown: Page) -> None:
    dead = [link for link in shown.links() if not re.match(r"[a-z]+:", link) and not is_there(shown, link)]
    assert not dead, f"{shown.name}: {dead}"


@pytest.mark.parametrize("shown", all_pages(), ids=lambda shown: shown.name)
def test_every_block_parses(shown: Page, tmp_path: Path) -> None:
    for block in shown.blocks():
        try:
            parse(block, tmp_path)
        except (ValueError, SyntaxError, yaml.YAMLError, configparser.Error, subprocess.CalledProcessError) as error:
            pytest.fail(f"{shown.name}:{block.line}: {error}")


def parse(block: Block, folder: Path) -> None:
    """Raises what the parser of the block's language raises."""
    match block.language:
        case "yaml":
            document = yaml.safe_load(block.text)
            if isinstance(document, dict) and set(document) <= {
                key.key.partition(".")[0] for key in describe_settings()
            }:
                file = folder / "roadstead.yaml"
                file.write_text(block.text, encoding="utf-8")
                load_settings(file, environment={})
        case "json":
            for line in block.text.splitlines() if block.text.lstrip().startswith('{"') else [block.text]:
                json.loads(line)
        case "toml":
            tomllib.loads(block.text)
        case "ini":
            configparser.ConfigParser(strict=False, interpolation=None).read_string(block.text)
        case "python":
            ast.parse(block.text)
        case "sh" | "bash":
            subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, capture_output=True)
        case language:
            known = {"console", "text", "nginx", "haproxy", "caddy", "http", "promql", "diff", "sql"}
            assert language in known, f"say what line {block.line} is: one of {sorted(known)} or a language we parse"


@pytest.mark.parametrize("shown", all_pages(), ids=lambda shown: shown.name)
def test_our_commands_exist(shown: Page) -> None:
    spans = (words for span in shown.code_spans() for words in split_commands(span))
    commands = itertools.chain(shown.commands(), spans)
    problems = [f"{' '.join(words)}: {problem}" for words in commands if (problem := wrong(words))]
    assert not problems, f"{shown.name}: {problems}"


def wrong(words: list[str]) -> str:
    """What is wrong with a command of ours; empty if nothing is, or if it is not ours."""
    match words[0].rpartition("/")[2]:
        case "roadstead":
            return wrong_roadstead(words[1:])
        case "make":
            return wrong_make(words[1:])
    return ""


def wrong_roadstead(arguments: list[str]) -> str:
    context = click.Context(program)
    command: click.Command = program
    if arguments and re.fullmatch(r"[a-z][a-z-]*", arguments[0]):
        found = program.get_command(context, arguments[0])
        if found is None:
            return "no such command"
        command = found
    if isinstance(command, click.Group) and len(arguments) > 1 and re.fullmatch(r"[a-z][a-z-]*", arguments[1]):
        below = command.get_command(context, arguments[1])
        if below is None:
            return "no such command"
        command = below
    options = {
        option for parameter in command.get_params(context) for option in parameter.opts + parameter.secondary_opts
    }
    given = [word.partition("=")[0] for word in arguments if re.match(r"--?[a-z]", word)]
    unknown = [option for option in given if option not in options | {"-h", "--help"}]
    return f"no option {', '.join(unknown)}" if unknown else ""


def wrong_make(arguments: list[str]) -> str:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    folder_after = {number + 1 for number, word in enumerate(arguments) if word == "-C"}
    asked = [
        word
        for number, word in enumerate(arguments)
        if number not in folder_after and re.fullmatch(r"[a-z][a-z-]*", word)
    ]
    unknown = [target for target in asked if target not in targets]
    return f"no target {', '.join(unknown)}" if unknown else ""


@pytest.mark.parametrize("shown", all_pages(), ids=lambda shown: shown.name)
def test_examples_name_no_real_host(shown: Page) -> None:
    """Readers paste; a host that is not theirs must not exist: RFC 2606 keeps example.com free."""
    code = [block.text for block in shown.blocks()] + shown.code_spans()
    named = {host.lower() for text in code for pattern in (HOST, URL) for host in pattern.findall(text)}
    foreign = sorted(
        host
        for host in named - THIS_MACHINE - DEFAULTS - KEY_NAMES
        if "." in host and host != "example.com" and not host.endswith(".example.com")
    )
    assert not foreign, f"{shown.name}: write registry.example.com instead of {foreign}"


@each_language()
def test_the_unit_on_the_page_is_the_packages(language: str) -> None:
    """Comments are in the page's language, and a clone's program is elsewhere; nothing else differs."""

    def lines(text: str) -> list[str]:
        program = re.sub(r"^ExecStart=\S+", "ExecStart=", text, flags=re.MULTILINE)
        return [line for line in program.splitlines() if not line.startswith("#")]

    unit = (ROOT / "deploy" / "debian" / "roadstead.service").read_text(encoding="utf-8")
    (shown,) = (block.text for block in page(language, "how-to/systemd.md").blocks() if block.language == "ini")
    assert lines(shown) == lines(unit)
