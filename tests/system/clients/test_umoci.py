"""umoci works on an OCI layout: skopeo brings it from the registry, and takes back what umoci made of it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

import pytest

from tests.factories.images import write_oci_layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.factories.greetings import Greeting
    from tests.system.machines import Machine
    from tests.system.oracle import Witness
    from tests.system.servers import RegistryServer

# Who is not root cannot give files to the users that the image names.
MAPPED: Final = () if os.geteuid() == 0 else ("--rootless",)

pytestmark = pytest.mark.needs("umoci", "skopeo", "busybox-static")


def _digest_in(layout: Path, tag: str) -> str:
    """The digest that a layout gives to a tag."""
    entries = json.loads((layout / "index.json").read_text())["manifests"]
    name = "org.opencontainers.image.ref.name"
    return next(str(each["digest"]) for each in entries if each.get("annotations", {}).get(name) == tag)


def test_pull_change_and_push_back(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    machine: Callable[[str], Machine],
    client: Callable[..., Machine],
    greeting: Greeting,
    tmp_path: Path,
) -> None:
    there = f"docker://{server.host}/{repository}"
    copy, umoci, layout = machine("skopeo"), client("umoci"), tmp_path / "layout"
    source = write_oci_layout(tmp_path / "source", v1=greeting.image)
    copy("copy", "--preserve-digests", f"oci:{source}:v1", f"{there}:v1")
    machine("skopeo")("copy", f"{there}:v1", f"oci:{layout}:v1")
    assert _digest_in(layout, "v1") == greeting.image.digest

    umoci("unpack", *MAPPED, "--image", f"{layout}:v1", tmp_path / "bundle")
    text = (tmp_path / "bundle" / "rootfs" / "etc" / "greeting").read_text().strip()
    assert text == greeting.text
    (tmp_path / "bundle" / "rootfs" / "etc" / "second").write_text(text)
    umoci("repack", "--image", f"{layout}:v2", tmp_path / "bundle")
    umoci("config", "--image", f"{layout}:v2", "--config.label", "made-by=umoci")
    copy("copy", "--preserve-digests", f"oci:{layout}:v2", f"{there}:v2")

    stored = witness.everything(repository, "v2")
    assert stored.digest == _digest_in(layout, "v2")
    machine("skopeo")("copy", f"{there}:v2", f"oci:{tmp_path / 'second'}:v2")
    assert _digest_in(tmp_path / "second", "v2") == stored.digest
    umoci("unpack", *MAPPED, "--image", f"{tmp_path / 'second'}:v2", tmp_path / "again")
    assert (tmp_path / "again" / "rootfs" / "etc" / "second").read_text() == greeting.text
