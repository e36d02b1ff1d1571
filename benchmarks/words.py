# ruff: noqa: RUF001 - Chinese has punctuation of its own
"""What the table says, in English and in Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.model import PEERS


@dataclass(frozen=True, slots=True)
class Words:
    """What the table says, in one language. Rows and metrics that are not named keep their own titles."""

    header: tuple[str, ...]
    met: str
    missed: str
    unknown: str
    failed: str
    absent: str
    made: str
    noise: str
    titles: Mapping[str, str]
    metrics: Mapping[str, str]
    target: str
    to: str
    strict: str
    colon: str
    semicolon: str
    brackets: str


WORDS: Mapping[str, Words] = {
    "en": Words(
        header=(
            "work",
            "figure",
            "roadstead : the better peer",
            "target",
            " / ".join(("roadstead", *PEERS)),
            *(f"roadstead : {peer}" for peer in PEERS),
            "roadstead : others",
        ),
        met="met",
        missed="**missed**",
        unknown="not measured",
        failed="failed",
        absent="Absent",
        made="Made with `{command}` on {date}, {cpus} CPUs, {memory} GB of memory, Linux {kernel}, {python}; {peers}.",
        noise="During the samples, what is no part of the run used {median:.2f} cores (median; most {highest:.2f}).",
        target="{target}: {verdict}",
        to=" of {peer}",
        strict=" in every round",
        colon=": ",
        semicolon="; ",
        brackets=" ({})",
        titles={},
        metrics={},
    ),
    "zh": Words(
        header=(
            "工作",
            "指标",
            "roadstead : 较好的对手",
            "目标",
            " / ".join(("roadstead", *PEERS)),
            *(f"roadstead : {peer}" for peer in PEERS),
            "roadstead : 其他",
        ),
        met="达到",
        missed="**未达到**",
        unknown="未测量",
        failed="失败",
        absent="缺席",
        made="由 `{command}` 于 {date} 得出，{cpus} 个 CPU，{memory} GB 内存，Linux {kernel}，{python}；{peers}。",
        noise="取样期间，与本次运行无关的进程占用 {median:.2f} 个核（中位数；最高 {highest:.2f}）。",
        target="{target}：{verdict}",
        to="（对 {peer}）",
        strict="（每一轮）",
        colon="：",
        semicolon="；",
        brackets="（{}）",
        titles={
            "manifest-get": "按标签 GET 清单，32 个连接",
            "manifest-head": "按标签 HEAD 清单，32 个连接",
            "small-push": "完整的小推送，8 个连接",
            "push-1": "推送 256 MiB，1 个客户端",
            "push-4": "推送 256 MiB，4 个客户端",
            "push-whole-1": "单个 PUT 推送 256 MiB，1 个客户端",
            "push-whole-4": "单个 PUT 推送 256 MiB，4 个客户端",
            "push-1-memory": "推送 256 MiB 到内存文件夹，1 个客户端",
            "push-4-memory": "推送 256 MiB 到内存文件夹，4 个客户端",
            "push-whole-1-memory": "单个 PUT 推送 256 MiB 到内存文件夹，1 个客户端",
            "push-whole-4-memory": "单个 PUT 推送 256 MiB 到内存文件夹，4 个客户端",
            "get-beside-pulls": "8 个客户端各拉取 256 MiB 期间按标签 GET 清单，1 个连接",
            "pull-1": "拉取 256 MiB，1 个客户端",
            "pull-4": "拉取 256 MiB，4 个客户端",
            "users-get": "按标签 GET 清单，32 个连接，htpasswd（bcrypt）",
            "tls-get": "按标签 GET 清单，32 个连接，TLS 1.3",
            "nginx-get": "按标签 GET 清单，32 个连接，htpasswd，经 nginx",
            "tls-pull-1": "拉取 256 MiB，TLS 1.3，1 个客户端",
            "tls-pull-4": "拉取 256 MiB，TLS 1.3，4 个客户端",
            "tls-pull-4-workers": "拉取 256 MiB，TLS 1.3，4 个客户端，2 个服务器进程",
            "nginx-pull": "拉取 256 MiB，htpasswd，经 nginx，1 个客户端",
            "nginx-pull-accel": "拉取 256 MiB，htpasswd，roadstead 的字节由 nginx 发送（X-Accel-Redirect），1 个客户端",
            "gc-catalogue": "回收无人需要的数据块，目录数据库的部分",
            "gc-requests": "回收垃圾期间按标签 HEAD 清单，32 个连接",
            "gc-pushes": "回收垃圾期间推送清单到新标签，4 个连接",
            "gc-files": "回收无人需要的数据块，连同文件",
            "listing": "目录与标签分页：仓库数 / 标签数",
            "memory": "静止时与并行推送时的内存",
            "start": "从启动到首次应答，按已登记的数据块数",
            "gc-growth": "回收无人需要的数据块，旁有保留的标签：数据块数 / 标签数",
            "postgresql-get": "按标签 GET 清单，32 个连接，目录数据库为文件 : PostgreSQL",
            "postgresql-push": "完整的小推送，8 个连接，目录数据库为文件 : PostgreSQL",
            "crowd": "32 个客户端推送到同一个仓库，与各推送到自己的仓库",
            "replicas-get": "按标签 GET 清单，32 个连接，两个副本 : 一个副本，各限 30% 个核",
            "replicas-push": "小推送，8 个连接，两个副本 : 一个副本，各限 30% 个核",
        },
        metrics={
            "requests": "每秒请求数",
            "p99": "延迟第 99 百分位",
            "cpu_requests": "每千次请求的 CPU 秒数",
            "images": "每秒镜像数",
            "cpu_images": "每千个镜像的 CPU 秒数",
            "bytes": "每秒兆字节",
            "cpu_bytes": "每吉字节的 CPU 秒数",
            "catalogue_p99": "目录一页，第 99 百分位",
            "catalogue_p99_large": "目录一页（1,000 项），第 99 百分位",
            "tags_p99": "标签一页，第 99 百分位",
            "tags_p99_large": "标签一页（1,000 项），第 99 百分位",
            "catalogue_growth": "目录一页，全量与百分之一之中位数比",
            "tags_growth": "标签一页，全量与百分之一之中位数比",
            "catalogue_position": "目录一页，首、中、尾最慢与最快之比",
            "tags_position": "标签一页，首、中、尾最慢与最快之比",
            "rest": "静止时的内存",
            "above_rest": "负载下高出静止时的内存（最高）",
            "memory": "负载后的内存",
            "start": "从进程启动到首次应答",
            "worst": "最长",
            "p99_collecting": "回收期间延迟第 99 百分位",
            "worst_collecting": "回收期间最长",
            "freed": "负载之余每秒回收的数据块数",
            "catalogue_time": "每 1,000,000 个数据块的目录数据库时间",
            "transaction": "最长的事务或读取",
            "growth": "后十分之九期间内存的增长",
            "reclaimed": "每秒数据块数",
            "cpu_blobs": "每千个数据块的 CPU 秒数",
            "together": "每秒推送到同一个仓库的次数",
            "apart": "每秒推送到各自仓库的次数",
            "crowding": "同一个仓库与各自仓库的用时比",
            "retried": "重新执行的事务",
            "database": "数据库占用的核数",
            "collecting_growth": "回收一个数据块，全量与百分之一之比",
        },
    ),
}
