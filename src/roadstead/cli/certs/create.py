"""``roadstead certs create``: makes an authority and a server's certificate in a folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from roadstead.cli.terminal import text
from roadstead.cli.terminal.output import print_fields, print_json, print_line, style
from roadstead.cli.terminal.refusal import CommandRefusedError

if TYPE_CHECKING:  # it brings cryptography, which --help and completion do not need
    from roadstead.certificates.folder import CertificateFolder
    from roadstead.certificates.model import CertificateFacts, Host


@click.command(
    epilog="""\b
Examples:
  roadstead certs create --host registry.example.com --out certs
  roadstead certs create --host registry.example.com --ip 192.0.2.10 --out certs
  roadstead certs create --client ci --out certs"""
)
@click.option("--host", "hosts", metavar="NAME", multiple=True, help="Name of the server; may be repeated.")
@click.option("--ip", "addresses", metavar="ADDRESS", multiple=True, help="Address of the server; may be repeated.")
@click.option("--client", metavar="USER", help="Make a client's certificate for this user.")
@click.option(
    "--out", metavar="FOLDER", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where files go."
)
@click.option("--days", metavar="N", type=click.IntRange(1, 825), default=825, help="Days it is valid.  [default: 825]")
@click.option("--rsa", is_flag=True, help="RSA keys, for clients that know no other.  [default: ECDSA P-256]")
@click.option(
    "--port", metavar="PORT", type=click.IntRange(1, 65535), default=5000, help="Shown in paths.  [default: 5000]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line; errors too.")
def create(
    *,
    hosts: tuple[str, ...],
    addresses: tuple[str, ...],
    client: str | None,
    out: Path,
    days: int,
    rsa: bool,
    port: int,
    as_json: bool,
) -> None:
    """Make an authority (CA) and a certificate of the server that it signs.

    Writes ca.crt, ca.key, server.crt and server.key to FOLDER. With a ca.crt and ca.key already there, they sign; a
    server.key that is there is used again, so the same command later renews the certificate. Clients need ca.crt only;
    keep ca.key away from the server if you can.
    """
    from roadstead.certificates.folder import CertificateFolder  # noqa: PLC0415 - see above
    from roadstead.certificates.hosts import parse_hosts  # noqa: PLC0415
    from roadstead.clock import SystemClock  # noqa: PLC0415

    wanted = parse_hosts((*hosts, *addresses))
    if not wanted and client is None:
        raise click.UsageError("name the server with --host or --ip, or a user with --client")
    key_type: Literal["ecdsa", "rsa"] = "rsa" if rsa else "ecdsa"
    folder = CertificateFolder(out, key_type)
    if not wanted and not folder.authority_file.exists():
        raise CommandRefusedError(f"there is no authority in {out} yet: make one with --host")
    now_ms = SystemClock().now_ms()
    authority, is_new = folder.ensure_authority(wanted[0].name if wanted else "", now_ms)
    if is_new and not as_json:
        print_line(f"{style('made', bold=True)} the authority {folder.authority_file.absolute()}")
    if wanted:
        from roadstead.certificates.reading import facts_of  # noqa: PLC0415

        issued = folder.issue_server(authority, wanted, now_ms, days)
        _tell_server(folder, facts_of(issued.certificate), wanted, port, as_json=as_json, is_new=is_new)
    if client is not None:
        made = folder.issue_client(authority, client, now_ms, days)
        _tell_client(made.absolute(), client, as_json=as_json)


def _tell_server(
    folder: "CertificateFolder",
    facts: "CertificateFacts",
    hosts: "tuple[Host, ...]",
    port: int,
    *,
    as_json: bool,
    is_new: bool,
) -> None:
    from roadstead.certificates.trust import how_to_trust  # noqa: PLC0415 - see above

    authority = folder.authority_file.absolute()
    certificate, key = folder.server_certificate.absolute(), folder.server_key.absolute()
    if as_json:
        print_json(
            {
                "certificate": str(certificate),
                "key": str(key),
                "authority": str(authority),
                "authority_made": is_new,
                "names": list(facts.names),
                "not_after": text.utc(facts.not_after_ms),
                "fingerprint": facts.fingerprint,
            }
        )
        return
    print_line(f"{style('made', bold=True)} the certificate {certificate}")
    print_line(f"     for {', '.join(facts.names)}, until {text.utc(facts.not_after_ms)[:10]}\n")
    print_line(f"The server:\n  roadstead serve --tls-cert {certificate} --tls-key {key}\n")
    address = f"[{hosts[0].name}]:{port}" if ":" in hosts[0].name else f"{hosts[0].name}:{port}"
    print_line(
        f"Each client, where roadstead is installed:\n  roadstead certs trust {authority.name} --host {address}\n"
    )
    print_line(f"Or by hand, {authority} copied to:")
    print_fields(how_to_trust(authority, address), indent="  ")


def _tell_client(folder: Path, user: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"client": user, "folder": str(folder)})
        return
    print_line(f"\n{style('made', bold=True)} the client's certificate of {text.printable(user)} in {folder}")
    print_line(
        "  docker and podman: copy client.cert, client.key and ca.crt to the same certs.d folder as ca.crt above;"
    )
    print_line('  containerd: client = [["client.cert", "client.key"]] in hosts.toml; curl: --cert and --key.')
