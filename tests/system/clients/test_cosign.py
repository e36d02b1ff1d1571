"""cosign signs and attests an image on the registry, and verifies both; what is not signed is not verified.

A key pair made in the test, no transparency log, no time stamps and no network: an empty signing configuration and
an empty trusted root say so in the way that cosign asks for. Both forms of storage are shown: bundles that refer to
the image, and the older signature tags.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.factories.images import write_oci_layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.factories.images import Index
    from tests.system.machines import Machine
    from tests.system.oracle import Witness
    from tests.system.servers import RegistryServer

pytestmark = pytest.mark.needs("cosign", "skopeo")

BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
OLD_FORM: Final = ("--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false")


@dataclass(frozen=True, slots=True)
class Signer:
    """A machine with cosign and a key pair."""

    cosign: Machine

    @property
    def key(self) -> Path:
        """The public key."""
        return self.cosign.home / "cosign.pub"

    def write(self, verb: str, name: str, *options: str | Path) -> None:
        """Sign or attest."""
        offline = (
            "--signing-config",
            self.cosign.home / "signing.json",
            "--trusted-root",
            self.cosign.home / "root.json",
        )
        chosen = () if "--use-signing-config=false" in options else offline
        self.cosign(verb, "--yes", "--key", self.cosign.home / "cosign.key", *chosen, *options, name)

    def check(self, verb: str, name: str, key: Path, *options: str, exit_code: int | None = 0) -> str:
        """Verify with a public key."""
        root = () if "--new-bundle-format=false" in options else ("--trusted-root", self.cosign.home / "root.json")
        arguments = ("--key", key, "--insecure-ignore-tlog", *root, *options)
        return self.cosign(verb, *arguments, name, exit_code=exit_code).stdout


@pytest.fixture
def signer(client: Callable[..., Machine]) -> Callable[[], Signer]:
    """Makes machines with cosign, each with a key pair of its own."""

    def make() -> Signer:
        cosign = client("cosign", COSIGN_PASSWORD="of the test")
        cosign("generate-key-pair")
        cosign("signing-config", "create", "--out", cosign.home / "signing.json")
        cosign("trusted-root", "create", "--out", cosign.home / "root.json")
        return Signer(cosign)

    return make


@pytest.fixture
def pushed(
    server: RegistryServer, repository: str, machine: Callable[[str], Machine], platforms: Index, tmp_path: Path
) -> str:
    """The name, with digest, of an index on the registry."""
    layout = write_oci_layout(tmp_path / "layout", v1=platforms)
    machine("skopeo")("copy", "--all", f"oci:{layout}:v1", f"docker://{server.host}/{repository}:v1")
    return f"{server.localhost}/{repository}@{platforms.digest}"


def test_sign_and_verify_elsewhere(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    signer: Callable[[], Signer],
    pushed: str,
    platforms: Index,
) -> None:
    one, two = signer(), signer()
    two.check("verify", pushed, one.key, exit_code=None)

    one.write("sign", pushed)

    verified = json.loads(two.check("verify", pushed, one.key))
    assert [each["critical"]["image"]["docker-manifest-digest"] for each in verified] == [platforms.digest]
    two.check("verify", pushed, two.key, exit_code=None)
    if server.has_referrers:
        found = witness.referrers(repository, platforms.digest)
        assert [each["artifactType"] for each in found] == [BUNDLE]
        assert witness.tags(repository) == ["v1"]


def test_attest_and_verify_elsewhere(
    signer: Callable[[], Signer], pushed: str, platforms: Index, repository: str, tmp_path: Path
) -> None:
    one, two = signer(), signer()
    (tmp_path / "predicate.json").write_text(json.dumps({"built-by": repository}))

    one.write("attest", pushed, "--predicate", tmp_path / "predicate.json", "--type", "custom")

    envelope = json.loads(two.check("verify-attestation", pushed, one.key, "--type", "custom"))
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert statement["subject"][0]["digest"] == {"sha256": platforms.digest.partition(":")[2]}
    assert json.loads(statement["predicate"]["Data"]) == {"built-by": repository}
    two.check("verify-attestation", pushed, two.key, "--type", "custom", exit_code=None)
    two.check("verify-attestation", pushed, one.key, "--type", "spdxjson", exit_code=None)


def test_the_older_form_is_a_tag(
    witness: Witness, repository: str, signer: Callable[[], Signer], pushed: str, platforms: Index
) -> None:
    one, two = signer(), signer()

    one.write("sign", pushed, *OLD_FORM)

    tag = f"{platforms.digest.replace(':', '-')}.sig"
    assert tag in witness.tags(repository)
    assert witness.everything(repository, tag).document["layers"]
    verified = json.loads(two.check("verify", pushed, one.key, "--new-bundle-format=false"))
    assert [each["critical"]["image"]["docker-manifest-digest"] for each in verified] == [platforms.digest]
    two.check("verify", pushed, two.key, "--new-bundle-format=false", exit_code=None)
