"""``roadstead certs trust``: makes the clients of this machine trust an authority."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from roadstead.cli.terminal.output import print_json, print_line, print_wrapped, style
from roadstead.cli.terminal.refusal import CommandRefusedError

if TYPE_CHECKING:  # it brings cryptography, which --help and completion do not need
    from roadstead.certificates.trust import ClientName, TrustFile


@click.command(
    epilog="""\b
Examples:
  roadstead certs trust ca.crt --host registry.example.com:5000
  roadstead certs trust ca.crt --host registry.example.com --for docker --for system
  roadstead certs trust ca.crt --host registry.example.com:5000 --dry-run"""
)
@click.argument("authority", metavar="CA", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--host", metavar="HOST[:PORT]", required=True, help="The registry, as in an image's name.")
@click.option(
    "--for",
    "clients",
    metavar="CLIENT",
    multiple=True,
    type=click.Choice(["docker", "podman", "containerd", "system"]),
    help="docker, podman, containerd, system; may be repeated.  [default: those found, but system]",
)
@click.option(
    "--root",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/"),
    help="Root of the machine.  [default: /]",
)
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line; errors too.")
def trust(
    authority: Path, host: str, clients: "tuple[ClientName, ...]", root: Path, *, dry_run: bool, as_json: bool
) -> None:
    """Have this machine's clients trust the authority in the file CA, for one registry.

    What is there already is left alone, so it may be run again. Only `--for system` makes programs trust the
    authority for every host.
    """
    from roadstead.certificates.trust import detect_clients, trust_files  # noqa: PLC0415 - see above

    pem = _read_authority(authority)
    address = _check_host(host)
    wanted = tuple(dict.fromkeys(clients)) or detect_clients(root)
    if not wanted:
        raise CommandRefusedError("neither docker nor podman nor containerd was found here: name a client with --for")
    for client in wanted:
        for file in trust_files(client, address, pem, root):
            _put(file, root, dry_run=dry_run, as_json=as_json)


def _put(file: "TrustFile", root: Path, *, dry_run: bool, as_json: bool) -> None:
    from roadstead.certificates.trust import refresh, write_trust  # noqa: PLC0415 - see above

    path = file.below(root)
    state = "would be written" if dry_run else write_trust(file, root)
    notes = [file.note] if file.note else []
    if state == "left alone":
        notes.insert(0, 'it has other content: add ca = "ca.crt" to its host')
    if file.command and not dry_run:  # also where the file was there: what makes it count may have failed before
        if root == Path("/"):
            refresh(file.command)
        else:
            notes.insert(0, f"run {' '.join(file.command)} on that machine")
    if as_json:
        print_json({"client": file.client, "path": str(path), "state": state, "notes": notes})
        return
    print_line(f"{style(state.ljust(len('would be written') if dry_run else len('left alone')), bold=True)}  {path}")
    for note in notes:
        print_wrapped(note, indent="    ")


def _read_authority(path: Path) -> bytes:
    """Reads an authority's certificate; returns it alone, as PEM, even if the file has more.

    Raises:
        CertificateError: it cannot be read.
        CommandRefusedError: it is no authority's.
    """
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 - see above

    from roadstead.certificates.reading import facts_of, read_certificates  # noqa: PLC0415

    certificate = read_certificates(path)[0]
    facts = facts_of(certificate)
    if not facts.is_authority and not facts.is_self_signed:
        owner = ", ".join(facts.names) or facts.subject
        raise CommandRefusedError(f"{path} is not the certificate of an authority, but of {owner}: give its ca.crt")
    return certificate.public_bytes(Encoding.PEM)


def _check_host(host: str) -> str:
    """Returns ``host`` if it is ``HOST`` or ``HOST:PORT``, as clients name their folders; raises otherwise.

    Raises:
        CertificateNameInvalidError: it is neither.
    """
    from roadstead.certificates.errors import CertificateNameInvalidError  # noqa: PLC0415 - see above
    from roadstead.certificates.hosts import parse_host  # noqa: PLC0415

    name, colon, port = host.rpartition(":")
    has_port = bool(colon) and port.isdecimal() and (":" not in name or name.endswith("]"))
    if has_port and not 0 < int(port) < 1 << 16:
        raise CertificateNameInvalidError(host, "no port")
    parsed = parse_host(name if has_port else host)
    shown = f"[{parsed.name}]" if ":" in parsed.name else parsed.name
    return f"{shown}:{int(port)}" if has_port else shown
