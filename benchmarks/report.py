"""The table of a run, as Markdown in English and Chinese and as JSON.

No figure stands alone: each is printed as its ratio to the better of the two peers, figure by figure, with the spread
over the rounds, so that what is lost to either is seen (in bold); beside it the figures that the ratio is of and the
ratio to each peer. Neither names of hosts nor paths are kept.
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.model import BETTER, CEILINGS, PEERS, SUBJECT, TIMES, VARIANTS, Metric, Result, Spread, Target
from benchmarks.peers import PeerAbsentError, command_output, find_command
from benchmarks.servers import SERVERS
from benchmarks.words import WORDS, Words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.runner import Bench

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES: Mapping[str, Path] = {
    "en": DOCS / "en" / "explanation" / "benchmarks.md",
    "zh": DOCS / "zh" / "explanation" / "benchmarks.md",
}
DASH = "\N{EN DASH}"
HIDDEN = {"client", "others"}
"""Metrics that are kept in the JSON alone."""

BEGIN = "<!-- table: begin -->"
END = "<!-- table: end -->"


@dataclass(frozen=True, slots=True)
class Run:
    """A whole run: the results and what they were made with."""

    command: str
    date: str
    cpus: int
    memory_gb: int
    kernel: str
    versions: Mapping[str, str]
    settings: Mapping[str, str]
    absent: Mapping[str, str]
    results: Sequence[Result]

    @classmethod
    def now(cls, bench: Bench, results: Sequence[Result], *, command: str) -> Run:
        """Put a run together with what this machine is."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return cls(
            command=command,
            date=time.strftime("%Y-%m-%d", time.gmtime()),
            cpus=os.cpu_count() or 0,
            memory_gb=round(memory / 1e9),
            kernel=".".join(platform.release().split("-")[0].split(".")[:2]),
            versions={**bench.versions, "wrk": _wrk_version(), "python": platform.python_version()},
            settings={key: SERVERS[key].settings for key in bench.versions},
            absent=dict(bench.absent),
            results=results,
        )

    def exit_code(self) -> int:
        """Return 0 when every target was met, 1 when one was missed or not measured, 2 when a row failed."""
        if any(result.failures for result in self.results):
            return 2
        verdicts = [verdict(result, target) for result in self.results for target in result.targets]
        return 0 if all(verdicts) else 1


def _wrk_version() -> str:
    try:
        # wrk prints its version with its usage and leaves with 1.
        return command_output("sh", "-c", f"{find_command('wrk', 'wrk')} -v | head -1; true").split()[1]
    except PeerAbsentError:
        return "absent"


def verdict(result: Result, target: Target) -> bool | None:
    """Tell whether a target is met; None when it was not measured."""
    value = result.find_value(target)
    return None if value is None else target.is_met(value)


def table(run: Run, language: str = "en") -> str:
    """Return the whole report in Markdown."""
    words = WORDS[language]
    lines = [_made(run, words), "", _line(words.header), _line(["---"] * len(words.header))]
    for result in run.results:
        lines += [_line(cells) for cells in _rows(result, words)]
    lines += ["", *_noise(run, words)]
    lines += [
        f"- {words.failed}{words.colon}{_title(result, words)}{words.colon}{peer}: {reason}"
        for result in run.results
        for peer, reason in result.failures.items()
    ]
    lines += [f"- {words.absent}{words.colon}{key}: {reason}" for key, reason in run.absent.items()]
    lines += _absent_in_rows(run, words)
    return "\n".join(lines).rstrip() + "\n"


def _noise(run: Run, words: Words) -> list[str]:
    """Say how quiet the machine was, since the ratios of a busy one are worth less."""
    samples = [sample for result in run.results for found in result.samples.values() for sample in found]
    values = [sample["others"] for sample in samples if "others" in sample]
    if not values:
        return []
    spread = Spread.of(values)
    return [words.noise.format(median=spread.median, highest=spread.highest), ""]


def _absent_in_rows(run: Run, words: Words) -> list[str]:
    return [
        f"- {words.absent}{words.colon}{key}{words.brackets.format(_title(result, words))}{words.colon}{reason}"
        for result in run.results
        for key, reason in result.absent.items()
        if key not in run.absent
    ]


def _made(run: Run, words: Words) -> str:
    peers = ", ".join(version for key, version in run.versions.items() if key not in {"python", "wrk"})
    return words.made.format(
        command=run.command,
        date=run.date,
        cpus=run.cpus,
        memory=run.memory_gb,
        kernel=run.kernel,
        python=f"Python {run.versions['python']}, wrk {run.versions['wrk']}",
        peers=peers,
    )


def _rows(result: Result, words: Words) -> list[list[str]]:
    metrics = [metric for metric in result.metrics() if metric.key not in HIDDEN]
    rows = [
        [
            _title(result, words),
            f"{words.metrics.get(metric.key, metric.title)} ({metric.unit})",
            _better(result, metric),
            _targets(result, metric, words),
            _figures(result, metric),
            *(_ratio(result.find_ratio(peer, metric.key)) for peer in PEERS),
            _others(result, metric, words),
        ]
        for metric in metrics
    ]
    return rows or [[_title(result, words), "", "", words.unknown, "", *("" for _ in PEERS), ""]]


def _title(result: Result, words: Words) -> str:
    title = words.titles.get(result.key, result.title)
    return f"{title} ({result.detail})" if result.detail else title


def _better(result: Result, metric: Metric) -> str:
    """Return the ratio to the better peer and its name, in bold where the row is lost to it."""
    peer = result.find_better(metric.key)
    spread = result.find_ratio(peer, metric.key) if peer else None
    if spread is None:
        return DASH
    mark = "**" if metric.is_lost(spread.median) else ""
    return f"{mark}{_ratio(spread)}{mark} {peer}"


def _others(result: Result, metric: Metric, words: Words) -> str:
    """Return the ratios to the server that does no registry's work, and to and between other forms of roadstead."""
    ratios = [f"{peer} {_ratio(ratio)}" for peer in CEILINGS if (ratio := result.find_ratio(peer, metric.key))]
    for peer in VARIANTS:
        figure = result.find_figure(peer, metric.key)
        if figure:
            ratio = result.find_ratio(peer, metric.key)
            said = f"{peer} {figure.median:,.{metric.digits}f}"
            ratios.append(said + words.brackets.format(_ratio(ratio)) if ratio else said)
    return words.semicolon.join(ratios)


def _ratio(spread: Spread | None) -> str:
    if spread is None:
        return DASH
    return f"{TIMES}{_number(spread.median)} ({_number(spread.lowest)}{DASH}{_number(spread.highest)})"


def _number(value: float) -> str:
    """Three significant digits, never in scientific notation."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _figures(result: Result, metric: Metric) -> str:
    figures = (result.find_figure(peer, metric.key) for peer in (SUBJECT, *PEERS))
    return " / ".join(f"{figure.median:,.{metric.digits}f}" if figure else DASH for figure in figures)


def _targets(result: Result, metric: Metric, words: Words) -> str:
    said = {True: words.met, False: words.missed, None: words.unknown}
    return words.semicolon.join(
        words.target.format(target=_said(target, words), verdict=said[verdict(result, target)])
        for target in result.targets
        if target.metric == metric.key
    )


def _said(target: Target, words: Words) -> str:
    """Say a target with whom it is to; a ratio to the better peer stands beside that ratio and needs no name."""
    name = "" if target.to in {None, BETTER} else words.to.format(peer=target.to)
    subject = "" if target.of == SUBJECT else f"{target.of} "
    return f"{subject}{target}{name}{words.strict if target.is_strict else ''}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def write_json(run: Run, path: Path) -> None:
    """Store all samples and what they amount to."""
    document = {
        **{key: getattr(run, key) for key in ("command", "date", "cpus", "memory_gb", "kernel")},
        "versions": run.versions,
        "settings": run.settings,
        "absent": run.absent,
        "peers": PEERS,
        "rows": [_row_document(result) for result in run.results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".tmp")
    staged.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    staged.replace(path)


def _row_document(result: Result) -> dict[str, object]:
    return {
        "key": result.key,
        "title": result.title,
        "detail": result.detail,
        "how": result.how,
        "seconds": round(result.seconds, 1),
        "failures": result.failures,
        "absent": result.absent,
        "samples": result.samples,
        "ratios": {
            peer: {
                metric.key: asdict(ratio)
                for metric in result.metrics()
                if (ratio := result.find_ratio(peer, metric.key))
            }
            for peer in result.samples
            if peer != SUBJECT
        },
        "better": {metric.key: better for metric in result.metrics() if (better := result.find_better(metric.key))},
        "targets": [_target_document(result, target) for target in result.targets],
    }


def _target_document(result: Result, target: Target) -> dict[str, object]:
    value = result.find_value(target)
    return {
        "metric": target.metric,
        "to": target.to,
        "target": str(target),
        "value": value.median if value else None,
        "is_met": verdict(result, target),
    }


def write_docs(run: Run) -> None:
    """Put the table between the markers of both pages; a page without them is left alone."""
    for language, page in PAGES.items():
        text = page.read_text() if page.exists() else ""
        before, begin, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if begin and end:
            page.write_text(f"{before}{BEGIN}\n{table(run, language)}{END}{after}")
