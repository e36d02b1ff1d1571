# ruff: noqa: RUF001 - Chinese has punctuation of its own
"""What the table says, in English and in Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OTHERS = ("registry:3", "zot")
CEILINGS = ("nginx", "sink")


@dataclass(frozen=True, slots=True)
class Words:
    """What the table says, in one language."""

    header: tuple[str, ...]
    met: str
    missed: str
    unknown: str
    failed: str
    absent: str
    made: str
    target_ratio: str
    client: str


WORDS: Mapping[str, Words] = {
    "en": Words(
        header=(
            "work",
            "figure",
            "roadstead : docker-registry",
            "target",
            "figures of the two",
            *(f"{peer} : docker-registry" for peer in OTHERS),
            "ceiling : docker-registry",
        ),
        met="met",
        missed="**missed**",
        unknown="not measured",
        failed="failed",
        absent="Absent",
        made="Made with `{command}` on {date}, {cpus} CPUs, {memory} GB of memory, Linux {kernel}, {python}; {peers}.",
        target_ratio="{target}: {verdict}",
        client="Load generator",
    ),
    "zh": Words(
        header=(
            "工作",
            "指标",
            "roadstead : docker-registry",
            "目标",
            "两者的数值",
            *(f"{peer} : docker-registry" for peer in OTHERS),
            "上限 : docker-registry",
        ),
        met="达到",
        missed="**未达到**",
        unknown="未测量",
        failed="失败",
        absent="缺席",
        made="由 `{command}` 于 {date} 得出，{cpus} 个 CPU，{memory} GB 内存，Linux {kernel}，{python}；{peers}。",
        target_ratio="{target}：{verdict}",
        client="负载发生器",
    ),
}
