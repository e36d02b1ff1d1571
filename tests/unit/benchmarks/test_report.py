# ruff: noqa: RUF001 - the table has signs of its own
"""The table of the benchmarks: each figure beside the better of the two peers, so that what is lost is seen."""

from benchmarks.model import (
    BETTER,
    CEILINGS,
    METRICS,
    PEERS,
    REFERENCE,
    REGISTRIES,
    SUBJECT,
    VARIANTS,
    Result,
    Sample,
    Target,
    at_least,
    at_most,
)
from benchmarks.report import Run, table
from benchmarks.rows import ROWS
from benchmarks.words import WORDS

OURS: list[Sample] = [
    {"bytes": 200.0, "cpu_bytes": 1.0},
    {"bytes": 220.0, "cpu_bytes": 1.0},
    {"bytes": 210.0, "cpu_bytes": 1.2},
]
DEBIANS: list[Sample] = [{"bytes": 100.0, "cpu_bytes": 4.0}] * 3
THIRDS: list[Sample] = [{"bytes": 250.0, "cpu_bytes": 2.0}] * 3


def result(*targets: Target, **samples: list[Sample]) -> Result:
    made = Result("push-1", "push", "how", targets)
    made.samples = dict(samples) or {SUBJECT: list(OURS), REFERENCE: list(DEBIANS), "registry:3": list(THIRDS)}
    return made


def row(made: Result, metric: str, language: str = "en") -> list[str]:
    run = Run("make bench", "2026-01-01", 2, 8, "6.1", {"python": "3", "wrk": "4"}, {}, {}, [made])
    title = f"{WORDS[language].metrics.get(metric, METRICS[metric].title)} ("
    [line] = [line for line in table(run, language).splitlines() if title in line]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_better_peer_is_chosen_figure_by_figure_by_its_direction() -> None:
    made = result()
    assert made.find_better("bytes") == "registry:3"
    assert made.find_better("cpu_bytes") == "registry:3"
    made.samples["registry:3"] = [{"bytes": 90.0, "cpu_bytes": 2.0}] * 3
    assert made.find_better("bytes") == REFERENCE
    assert made.find_better("cpu_bytes") == "registry:3"
    assert made.find_better("requests") is None


def test_a_row_that_is_lost_to_either_peer_is_bold_and_names_it() -> None:
    assert row(result(), "bytes")[2] == "**×0.84 (0.80–0.88)** registry:3"
    assert row(result(), "cpu_bytes")[2] == "×0.50 (0.50–0.60) registry:3"


def test_each_row_shows_the_figures_of_all_three_and_the_ratio_to_each() -> None:
    cells = row(result(), "bytes")
    assert cells[4:7] == ["210 / 100 / 250", "×2.10 (2.00–2.20)", "×0.84 (0.80–0.88)"]


def test_targets_are_held_against_whom_they_name() -> None:
    made = result(at_least("bytes", 2, REFERENCE), at_least("bytes", 1, BETTER))
    assert row(made, "bytes")[3] == "≥ ×2 of docker-registry: met; ≥ ×1: **missed**"


def test_a_strict_target_is_missed_by_a_single_round() -> None:
    loose, strict = at_least("bytes", 2.05, REFERENCE), at_least("bytes", 2.05, REFERENCE, is_strict=True)
    assert row(result(loose), "bytes")[3].endswith("of docker-registry: met")
    assert row(result(strict), "bytes")[3].endswith("of docker-registry in every round: **missed**")


def test_a_target_whose_peer_is_absent_is_not_met() -> None:
    made = result(at_least("bytes", 1, "nginx"), **{SUBJECT: OURS})
    assert row(made, "bytes")[2] == "–"
    assert row(made, "bytes")[3] == "≥ ×1 of nginx: not measured"


def test_a_figure_is_bounded_without_a_peer() -> None:
    assert row(result(at_most("cpu_bytes", 1.1)), "cpu_bytes")[3] == "≤ 1.1 s: met"


def test_every_target_names_a_server_that_the_table_shows() -> None:
    known = {None, BETTER, *PEERS, *CEILINGS, *VARIANTS}
    targets = [target for row, _ in ROWS.values() for target in row.targets]
    assert {target.to for target in targets} <= known
    assert {target.of for target in targets} <= {SUBJECT, *VARIANTS}
    assert (SUBJECT, *PEERS) == REGISTRIES


def test_every_row_and_every_figure_that_is_shown_has_its_chinese() -> None:
    words = WORDS["zh"]
    assert set(ROWS) <= set(words.titles)
    assert set(METRICS) - {"client", "others"} <= set(words.metrics)
