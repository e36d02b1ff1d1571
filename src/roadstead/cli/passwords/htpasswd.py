"""``roadstead htpasswd``: adds, changes, deletes and checks users of a password file."""

import sys
from pathlib import Path
from typing import Final

import click

from roadstead.cli.terminal.output import note, print_json, print_line
from roadstead.cli.terminal.refusal import CommandRefusedError
from roadstead.cli.terminal.text import plural, printable

DEFAULT_COST: Final = 10
"""Cost of new hashes: 60 ms of one core for each check, and twice that for each step, for guessers too."""

MOST_COST: Final = 16
SHOWN: Final = 10
"""Number of names that a warning shows at most."""

_RESERVED: Final = {"anonymous": "who has not logged in", "*": "everybody who has"}


@click.command(
    epilog="""\b
Examples:
  roadstead htpasswd users alice                      asks for the password twice
  roadstead htpasswd users ci --password-stdin < FILE
  roadstead htpasswd users alice --verify             is this the password?
  roadstead htpasswd users alice --delete
  roadstead serve --htpasswd users"""
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("user")
@click.option(
    "--cost",
    type=click.IntRange(4, MOST_COST),
    metavar="N",
    default=DEFAULT_COST,
    help="How slow hashing is, for the server as for who guesses: 10 takes 60 ms, each step twice as long."
    "  [default: 10]",
)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--delete", is_flag=True, help="Delete the user.")
@click.option("--verify", is_flag=True, help="Only say whether the password is right.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
def htpasswd(
    *, file: Path, user: str, cost: int, password_stdin: bool, delete: bool, verify: bool, as_json: bool
) -> None:
    """Add a user to a password file, or change, delete or check one.

    FILE is what `roadstead serve --htpasswd` and nginx, Apache and registry:2 read; it is made if it is not there. The
    password is stored as bcrypt, which sees its first 72 bytes, so a longer one is refused. A running server knows the
    change at its next request. Comments and other users' lines stay as they are.
    """
    if delete and (verify or password_stdin):
        raise click.UsageError("--delete takes no password: leave out --verify and --password-stdin")
    if delete:
        record = _delete(file, user)
    elif verify:
        record = _verify(file, user, _password(user, from_stdin=password_stdin, is_new=False))
    else:
        _check_user(user)
        record = _set(file, user, _new_password(user, from_stdin=password_stdin), cost)
    _print(record, as_json=as_json)


def _set(file: Path, user: str, password: bytes, cost: int) -> dict[str, object]:
    from roadstead.identity import hashes, htpasswd_editing  # noqa: PLC0415 - see roadstead.cli.group

    hashed = hashes.bcrypt_hash(password, cost)
    found = False

    def change(content: bytes) -> bytes:
        nonlocal found
        changed, found = htpasswd_editing.set_user(content, user, hashed)
        return changed

    is_new = not file.exists()
    htpasswd_editing.edit_file(file, change)
    if is_new:
        note(f"Made {file}. Serve with it: roadstead serve --htpasswd {file}")
    return {"file": str(file), "user": user, "done": "changed" if found else "added", "kind": "bcrypt", "cost": cost}


def _delete(file: Path, user: str) -> dict[str, object]:
    from roadstead.identity import htpasswd_editing  # noqa: PLC0415 - see roadstead.cli.group

    def change(content: bytes) -> bytes:
        changed, found = htpasswd_editing.delete_user(content, user)
        if not found:
            raise CommandRefusedError(f"there is no user {printable(user)} in {file}")
        return changed

    if not file.exists():
        raise FileNotFoundError(2, "No such file or directory", str(file))
    htpasswd_editing.edit_file(file, change)
    return {"file": str(file), "user": user, "done": "deleted"}


def _verify(file: Path, user: str, password: bytes) -> dict[str, object]:
    from roadstead.identity import HtpasswdFile, hashes  # noqa: PLC0415 - see roadstead.cli.group

    read = HtpasswdFile.parse(file.read_bytes())
    hashed = read.hashes.get(user)
    if hashed is None:
        why = next((f": line {line.number}: {line.reason}" for line in read.refused if line.user == user), "")
        raise CommandRefusedError(f"{printable(user)} cannot log in with {file}{why or ': there is no such user'}")
    if not hashes.verify(password, hashed):
        raise CommandRefusedError(f"this is not the password of {printable(user)}")
    return {"file": str(file), "user": user, "done": "verified", "kind": str(hashes.cost_of(hashed).kind)}


def _check_user(user: str) -> None:
    from roadstead.identity.htpasswd import NAME_BYTES, is_name  # noqa: PLC0415 - see roadstead.cli.group

    if user in _RESERVED:
        raise click.UsageError(f"in rules {user} means {_RESERVED[user]}; choose another name")
    if not is_name(user.encode("utf-8", "surrogateescape")) or user != user.strip() or user.startswith("#"):
        raise click.UsageError(
            f"a user's name has 1 to {NAME_BYTES} bytes without a colon, without control characters, without blanks"
            " around it, does not begin with #, and is not - alone, which stands for nobody in logs"
        )


def _new_password(user: str, *, from_stdin: bool) -> bytes:
    from roadstead.identity.hashes import BCRYPT_BYTES  # noqa: PLC0415 - see roadstead.cli.group

    password = _password(user, from_stdin=from_stdin, is_new=True)
    if not password or b"\0" in password:
        raise click.UsageError("the password is empty" if not password else "the password has a zero byte")
    if len(password) > BCRYPT_BYTES:
        raise click.UsageError(f"the password has {len(password)} bytes, of which bcrypt sees the first {BCRYPT_BYTES}")
    return password


def _password(user: str, *, from_stdin: bool, is_new: bool) -> bytes:
    if from_stdin:
        return sys.stdin.buffer.read(1 << 16).removesuffix(b"\n").removesuffix(b"\r")
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is here to be asked for the password: use --password-stdin")
    prompt = f"Password for {printable(user)}"
    text = str(click.prompt(prompt, hide_input=True, confirmation_prompt="And again" if is_new else False, err=True))
    return text.encode("utf-8", "surrogateescape")


def _print(record: dict[str, object], *, as_json: bool) -> None:
    from roadstead.identity import HtpasswdFile  # noqa: PLC0415 - see roadstead.cli.group
    from roadstead.identity.hashes import cost_of  # noqa: PLC0415

    read = HtpasswdFile.parse(Path(str(record["file"])).read_bytes())
    weak = {user: cost_of(hashed).kind for user, hashed in read.hashes.items() if cost_of(hashed).kind.is_weak}
    if as_json:
        unusable = [{"line": line.number, "user": line.user, "reason": line.reason} for line in read.refused]
        print_json({**record, "weak": sorted(weak), "unusable": unusable})
        return
    user, file = printable(str(record["user"])), record["file"]
    sentences = {
        "added": f"Added {user} to {file}.",
        "changed": f"Changed the password of {user} in {file}.",
        "deleted": f"Deleted {user} from {file}.",
        "verified": f"This is the password of {user}.",
    }
    print_line(sentences[str(record["done"])])
    sys.stdout.flush()
    if weak:
        names = ", ".join(printable(name) for name in sorted(weak)[:SHOWN]) + (", …" if len(weak) > SHOWN else "")
        kinds = " and ".join(sorted(set(weak.values())))
        _warn(f"{plural(len(weak), 'user')} with a hash that is quick to guess ({kinds}): {names}; set theirs again")
    for line in read.refused[:SHOWN]:
        _warn(f"line {line.number} cannot be used: {line.reason}")


def _warn(text: str) -> None:
    click.echo(click.style("warning: ", fg="yellow") + text, err=True)
