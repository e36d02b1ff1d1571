"""The image: what is in it, and the three layers it comes in (Debian, the locked wheels, roadstead).

Only Python and what it links to is there: no shell, no package manager, no setuid program, nothing to log in to. Each
layer depends on less than the next, so that an update of roadstead alone moves a megabyte.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from deploy.build import debian, wheels
from deploy.build.commands import BuildError, run, say
from deploy.build.files import Owner, Packed, pack, remove
from deploy.build.source import ROOT, Source

if TYPE_CHECKING:
    from pathlib import Path

RELEASE: Final = "trixie"
PYTHON: Final = "3.13"
GLIBC_MINOR: Final = 41
"""Of Debian's release, each of these; its OpenSSL 3.5 makes pulls with TLS 1.45 times as fast as Debian 12's 3.0."""

PACKAGES: Final = ("base-files", "ca-certificates", f"libpython{PYTHON}-stdlib", f"python{PYTHON}-minimal")
LEFT_OUT: Final = frozenset({
    "debconf", "dpkg", "libacl1", "libbz2-1.0", "libcrypt1", "libdb5.3t64", "libmd0", "libncursesw6",
    "libpcre2-8-0", "libreadline8t64", "libselinux1", "libtinfo6", "mawk", "openssl", "openssl-provider-legacy",
    "perl-base", "readline-common", "tar",
})  # fmt: skip
"""Dependencies that only scripts of packages, terminals, or modules of Python that nothing here imports would need."""
UNUSED: Final = (
    "etc/ca-certificates*", "etc/cron*", "etc/default", "etc/dpkg", "etc/init.d", "etc/kernel", "etc/motd*",
    "boot", "etc/profile*", "etc/skel", "etc/update-motd.d", "home", "media", "mnt", "opt", "srv",
    "usr/bin/[!p]*", "usr/games", "usr/include", "usr/lib/*/gconv", "usr/lib/*/libmvec.so.*",
    "usr/lib/*/libnss_[!fd]*", "usr/lib/valgrind", "usr/local/*", "usr/sbin/*", "usr/src",
    "usr/share/{bash-completion,binfmts,bug,debianutils,dict,info,lintian,locale,man,menu,misc,perl5,pixmaps,python*}",
    "usr/share/doc/*/[!c]*", "usr/share/doc/*/changelog*",
    "var/{backups,local,lock,mail,opt,run,spool}",
    f"usr/lib/python{PYTHON}/{{_pyrepl,curses,dbm,doctest.py,ensurepip,idlelib,lib2to3,pydoc.py,pydoc_data,test}}",
    f"usr/lib/python{PYTHON}/{{this.py,tkinter,turtle.py,turtledemo,unittest,venv,EXTERNALLY-MANAGED}}",
    f"usr/lib/python{PYTHON}/lib-dynload/{{_bz2,_crypt,_curses*,_dbm,_test*,_xx*,readline,xx*}}.*.so",
)  # fmt: skip
"""Of Debian's packages; the copyright notices and the records of the packages stay."""
UNUSED_OF_WHEELS: Final = (
    "**/*.c", "**/*.h", "**/*.pxd", "**/*.pyi", "**/*.pyx", "**/_internal/tests", "**/tests", "**/test",
    "alembic/testing", "mako/testing", "sqlalchemy/testing", "roadstead/testing",
    "pygments/{formatters,lexers,styles}/[!_]*", "sqlalchemy/dialects/{mssql,mysql,oracle}",
)  # fmt: skip

USER: Final = 65532
"""What images without a root user have agreed upon."""
DATA: Final = "var/lib/registry"
"""Where registry:2's image has its volume."""
SITE: Final = f"usr/local/lib/python{PYTHON}/dist-packages"
_OWNERS: Final = {
    # group 0: an arbitrary user id, as `docker run --user` or OpenShift gives one, is in it and nobody else is
    DATA: Owner(USER, 0, 0o770),
    "home/roadstead": Owner(USER, 0, 0o750),
    "tmp": Owner(mode=0o1777),
    "var/tmp": Owner(mode=0o1777),
}
_ACCOUNTS: Final = {
    "etc/passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\n"
    f"roadstead:x:{USER}:{USER}:roadstead:/home/roadstead:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": f"root:x:0:\nroadstead:x:{USER}:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_LINKS: Final = {
    "bin": "usr/bin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "sbin": "usr/sbin",
    "usr/bin/python3": f"python{PYTHON}",
    "usr/lib/ssl/cert.pem": "/etc/ssl/certs/ca-certificates.crt",
    "usr/lib/ssl/certs": "/etc/ssl/certs",
    "var/lock": "../run/lock",
    "var/run": "../run",
}


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer, and the sentence about it in the image's history."""

    content: Packed
    made_by: str


def build_layers(work: Path, cache: Path, own_wheel: Path) -> list[Layer]:
    """The layers, from the lowest, as files in ``work``, which is empty.

    Raises:
        BuildError: something that goes into them cannot be had.
    """
    architecture = debian.architecture()
    locked = wheels.download(
        cache / f"wheels-{PYTHON}", python=PYTHON, glibc_minor=GLIBC_MINOR, architecture=architecture
    )
    base, dependencies, application = (work / name for name in ("debian", "wheels", "roadstead"))
    _make_base(base, cache)
    wheels.unpack(locked, dependencies / SITE)
    wheels.unpack([own_wheel], application / SITE)
    for tree in (dependencies, application):
        remove(tree / SITE, _expand(UNUSED_OF_WHEELS))
    _place_programs(application)
    say("compiling Python's modules")
    _compile(base, base, f"usr/lib/python{PYTHON}")
    _compile(base, dependencies, SITE)
    _compile(base, application, SITE)
    say("packing the layers")
    return [
        Layer(pack(base, work / "debian.tar.gz", _OWNERS), f"packages of Debian {RELEASE}"),
        Layer(pack(dependencies, work / "wheels.tar.gz"), "wheels of requirements/runtime.lock"),
        Layer(pack(application, work / "roadstead.tar.gz"), own_wheel.name),
    ]


def _make_base(root: Path, cache: Path) -> None:
    source = debian.PackageSource(cache / f"debian-{RELEASE}", RELEASE, debian.find_mirror())
    for package in source.download(PACKAGES, without=LEFT_OUT):
        debian.unpack(package, root)
    _gather_certificates(root)
    remove(root, _expand(UNUSED))
    for name in ("lib", "lib64", "bin", "sbin"):  # packages of a merged /usr have nothing there; base-files has links
        remove(root, [name])
    for name, target in _LINKS.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    for name, text in _ACCOUNTS.items():
        (root / name).write_text(text, encoding="utf-8")
    for name in ("dev", "proc", "run/lock", "sys", "root", *_OWNERS):
        (root / name).mkdir(parents=True, exist_ok=True)


def _gather_certificates(root: Path) -> None:
    """What update-ca-certificates would do, whose package's script is not run."""
    authorities = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    if not authorities:
        raise BuildError("the package ca-certificates has no certificates where they have always been")
    texts = [path.read_text(encoding="ascii").strip() for path in authorities]
    (root / "etc/ssl/certs/ca-certificates.crt").write_text("\n".join(texts) + "\n", encoding="ascii")
    shutil.rmtree(root / "usr/share/ca-certificates")


def _place_programs(root: Path) -> None:
    for name, target in (("roadstead", "usr/bin/roadstead"), ("healthcheck", "usr/lib/roadstead/healthcheck")):
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "deploy/image" / name, root / target)


def _compile(base: Path, root: Path, folder: str) -> None:
    """Compiles modules with the image's own Python, started by its own loader, so that no root and no chroot is needed.

    The result does not depend on times (unchecked-hash), on where it was made, or on the order of hashes. What the
    compiler itself imports is compiled by it too, and not by the import, which would write down where that was.
    """
    loader = next((base / "usr/lib64").glob("ld-linux-*"), None) or next((base / "usr/lib").glob("ld-linux-*"))
    libraries = next(base.glob("usr/lib/*-linux-gnu"))
    python: list[str | Path] = [
        loader,
        "--library-path",
        libraries,
        base / f"usr/bin/python{PYTHON}",
        "-S",
        "-B",
        "-m",
        "compileall",
    ]
    options: list[str | Path] = ["-q", "--invalidation-mode", "unchecked-hash", "-s", root, "-p", "/"]
    run([*python, *options, root / folder], variables={"PYTHONHOME": str(base / "usr"), "PYTHONHASHSEED": "0"})


def _expand(patterns: tuple[str, ...]) -> list[str]:
    """Patterns without braces: ``a{b,c}`` is ``ab`` and ``ac``."""
    expanded: list[str] = []
    for pattern in patterns:
        before, brace, rest = pattern.partition("{")
        choices, _, after = rest.partition("}")
        expanded += [f"{before}{choice}{after}" for choice in choices.split(",")] if brace else [pattern]
    return expanded


def labels(source: Source) -> dict[str, str]:
    """What is said about the image, under the names that OCI gives."""
    said = {
        "title": "roadstead",
        "description": "The private container registry that is complete on its own",
        "version": source.version,
        "revision": source.revision,
        "created": source.created,
        "licenses": "Apache-2.0",
        "base.name": f"debian:{RELEASE}",
    }
    return {f"org.opencontainers.image.{name}": text for name, text in said.items() if text}


def configuration(source: Source, layers: list[Layer]) -> dict[str, object]:
    """The image's configuration, as OCI has it, with the health check that docker and podman know."""
    environment = {
        "PATH": "/usr/local/bin:/usr/bin",
        "LANG": "C.UTF-8",
        "ROADSTEAD_CONTAINER": "1",
        "TMPDIR": "/dev/shm",  # noqa: S108 - every container has one of its own, also with --read-only
    }
    return {
        "architecture": debian.architecture(),
        "os": "linux",
        "created": source.created,
        "config": {
            "User": f"{USER}:0",
            "Env": [f"{name}={value}" for name, value in environment.items()],
            "Entrypoint": ["/usr/bin/roadstead"],
            "Cmd": ["serve", "--adopt"],
            "ExposedPorts": {"5000/tcp": {}},
            "Volumes": {f"/{DATA}": {}},
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "Labels": labels(source),
            "Healthcheck": {
                "Test": ["CMD", "/usr/lib/roadstead/healthcheck"],
                "Interval": 30 * 10**9,
                "Timeout": 5 * 10**9,
                "StartPeriod": 60 * 10**9,
                "StartInterval": 2 * 10**9,  # read by engines that know it: healthy soon, looked at seldom
                "Retries": 3,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.content.diff_id for layer in layers]},
        "history": [{"created": source.created, "created_by": layer.made_by} for layer in layers],
    }
