"""helm packages a chart, pushes it, and another machine pulls, shows and renders it from the registry."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.system.machines import Machine
    from tests.system.oracle import Witness
    from tests.system.servers import RegistryServer

pytestmark = pytest.mark.needs("helm")

_TEMPLATE = """apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  greeting: {{ .Values.greeting | quote }}
"""


def _write_chart(folder: Path, greeting: str, version: str) -> Path:
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text(
        f"apiVersion: v2\nname: hello\nversion: {version}\ndescription: a chart of the tests\n"
    )
    (folder / "values.yaml").write_text(f"greeting: {greeting}\n")
    (folder / "templates" / "config.yaml").write_text(_TEMPLATE)
    return folder


def _digest_in(output: str) -> str:
    found = re.search(r"Digest: (sha256:[0-9a-f]{64})", output)
    assert found is not None, output
    return found[1]


def test_a_chart_is_pushed_pulled_and_rendered(
    server: RegistryServer, witness: Witness, repository: str, client: Callable[..., Machine], tmp_path: Path
) -> None:
    here, there = client("helm"), client("helm")
    base = f"oci://{server.host}/{repository}"
    here("package", _write_chart(tmp_path / "hello", repository, "0.1.0"), "--destination", tmp_path)
    package = tmp_path / "hello-0.1.0.tgz"
    content = package.read_bytes()

    pushed = _digest_in(here("push", "--plain-http", package, base).both)
    package.unlink()
    pulled = _digest_in(there("pull", "--plain-http", f"{base}/hello", "--version", "0.1.0").both)

    stored = witness.everything(f"{repository}/hello", "0.1.0")
    assert stored.digest == pushed == pulled
    assert (there.home / "hello-0.1.0.tgz").read_bytes() == content
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" in stored.blobs
    assert stored.document["config"]["mediaType"] == "application/vnd.cncf.helm.config.v1+json"
    assert "a chart of the tests" in there("show", "chart", "--plain-http", f"{base}/hello").stdout
    assert f'greeting: "{repository}"' in there("template", "--plain-http", "name", f"{base}/hello").stdout


def test_the_newest_version_that_fits_is_chosen_from_the_tags(
    server: RegistryServer, witness: Witness, repository: str, client: Callable[..., Machine], tmp_path: Path
) -> None:
    helm, base = client("helm"), f"oci://{server.host}/{repository}"
    for version in ("0.9.0", "0.10.0", "1.0.0+build.1"):
        chart = _write_chart(tmp_path / version / "hello", f"of {version}", version)
        helm("package", chart, "--destination", tmp_path)
        helm("push", "--plain-http", tmp_path / f"hello-{version}.tgz", base)

    assert sorted(witness.tags(f"{repository}/hello")) == ["0.10.0", "0.9.0", "1.0.0_build.1"]
    for wanted, found in (("<1.0.0", "0.10.0"), ("1.0.0+build.1", "1.0.0+build.1")):
        shown = helm("show", "chart", "--plain-http", f"{base}/hello", "--version", wanted).stdout
        assert f"version: {found}\n" in shown
