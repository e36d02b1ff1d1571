"""Metrics under registry:2's names, and labels that clients cannot multiply."""

import asyncio
from dataclasses import dataclass

from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from roadstead.app.background import measure_loop_lag
from roadstead.telemetry import Metrics


@dataclass(eq=False)
class Running:
    """A request under way."""

    handler: str


def samples(metrics: Metrics) -> dict[str, float]:
    text = generate_latest(metrics.registry).decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_requests_are_counted_as_registry_2_counts_them() -> None:
    metrics = Metrics("0.1")
    metrics.requests.count("manifest", "GET", 200, 0.004, 0, 500)
    metrics.requests.count("manifest", "GET", 404, 0.03, 0, 100)
    metrics.requests.count("blob_upload", "PATCH", 202, 70.0, 3 << 30, 0)
    found = samples(metrics)
    assert found["registry_http_requests_total{code=200,handler=manifest,method=get}"] == 1
    assert found["registry_http_requests_total{code=202,handler=blob_upload,method=patch}"] == 1
    assert found["registry_http_request_duration_seconds_bucket{handler=manifest,le=0.005,method=get}"] == 1
    assert found["registry_http_request_duration_seconds_bucket{handler=manifest,le=0.05,method=get}"] == 2
    assert found["registry_http_request_duration_seconds_count{handler=manifest,method=get}"] == 2
    assert found["registry_http_request_duration_seconds_bucket{handler=blob_upload,le=60.0,method=patch}"] == 0
    assert found["registry_http_request_duration_seconds_bucket{handler=blob_upload,le=+Inf,method=patch}"] == 1
    assert found["registry_http_response_size_bytes_sum{handler=manifest}"] == 600
    assert found["registry_http_request_size_bytes_sum{handler=blob_upload}"] == 3 << 30
    assert found["registry_http_request_size_bytes_bucket{handler=manifest,le=1024.0}"] == 2


def test_reading_changes_nothing() -> None:
    metrics = Metrics("0.1")
    for status in (200, 201, 404):
        metrics.requests.count("manifest", "GET", status, 0.004, 10, 500)
    first = {name: value for name, value in samples(metrics).items() if name.startswith("registry_")}
    second = {name: value for name, value in samples(metrics).items() if name.startswith("registry_")}
    assert first == second
    assert first["registry_http_request_duration_seconds_bucket{handler=manifest,le=0.005,method=get}"] == 3


def test_a_clients_words_do_not_become_labels() -> None:
    metrics = Metrics("0.1")
    for number in range(1000):
        metrics.requests.count("base", f"METHOD{number}", 405, 0.001, 0, 0)
        metrics.requests.count(f"handler{number}", "GET", 404, 0.001, 0, 0)
    found = samples(metrics)
    assert found["registry_http_requests_total{code=405,handler=base,method=unknown}"] == 1000
    assert found["registry_http_requests_total{code=404,handler=other,method=get}"] == 801
    assert len(found) < 20_000


def test_requests_under_way_are_those_of_this_moment() -> None:
    metrics = Metrics("0.1")
    request = Running("base")
    metrics.requests.in_flight.add(request)
    request.handler = "blob"  # routing comes after the start
    assert samples(metrics)["registry_http_in_flight_requests{handler=blob}"] == 1
    metrics.requests.in_flight.discard(request)
    metrics.requests.count("blob", "GET", 200, 0.1, 0, 0)
    assert samples(metrics)["registry_http_in_flight_requests{handler=blob}"] == 0


def test_storage_process_and_build_are_there() -> None:
    metrics = Metrics("0.1")
    metrics.storage_action("filesystem", "Stat").observe(0.002)
    metrics.storage_action("filesystem", "Stat").observe(0.002)
    metrics.count_refusal("header_timeout")
    metrics.requests.count("blob_upload_chunk", "PATCH", 202, 0.1, 10, 0)
    metrics.requests.count("blob_upload_chunk", "PATCH", 416, 0.1, 99, 0)
    metrics.requests.count("blob", "GET", 206, 0.1, 0, 7)
    metrics.requests.count("blob", "HEAD", 200, 0.1, 0, 5)
    found = samples(metrics)
    assert found["registry_storage_action_seconds_count{action=Stat,driver=filesystem}"] == 2
    assert found["roadstead_refused_requests_total{reason=header_timeout}"] == 1
    assert found["roadstead_pushed_bytes_total{}"] == 10
    assert found["roadstead_pulled_bytes_total{}"] == 7
    assert found["process_resident_memory_bytes{}"] > 0
    assert any(name.startswith("roadstead_build_info{") and "version=0.1" in name for name in found)
    assert not any("_created" in name for name in found)


def test_the_same_can_be_read_as_openmetrics() -> None:
    metrics = Metrics("0.1")
    metrics.requests.count("manifest", "GET", 200, 0.004, 0, 500)
    text: str = generate_openmetrics(metrics.registry).decode()  # type: ignore[no-untyped-call]
    families = {family.name for family in parse_openmetrics(text)}  # type: ignore[no-untyped-call]
    assert "registry_http_requests" in families


def test_a_blocked_loop_is_noticed() -> None:
    class Observed:
        """Keeps what it is told."""

        def __init__(self) -> None:
            self.values: list[float] = []

        def observe(self, amount: float) -> None:
            """Keeps it."""
            self.values.append(amount)

    async def run() -> list[float]:
        observed = Observed()
        task = asyncio.create_task(measure_loop_lag(observed, 0.01))
        await asyncio.sleep(0)
        _spin(0.08)
        await asyncio.sleep(0.03)
        task.cancel()
        return observed.values

    assert max(asyncio.run(run())) > 0.05


def _spin(seconds: float) -> None:
    import time  # noqa: PLC0415 - only here is blocking the loop the point

    time.sleep(seconds)
