"""``python -m deploy.build image|packages [--out DIR] [--cache DIR] [--no-load]``."""

from __future__ import annotations

import argparse
import fcntl
import sys
import tempfile
from pathlib import Path

from deploy.build import archives, debian, engines, image, package, wheels
from deploy.build.commands import BuildError, say
from deploy.build.source import ROOT, describe

MEGABYTE = 1_000_000


def main() -> int:
    """Builds what is asked for; 1 if it could not, with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="python -m deploy.build", description="Build what people run.")
    parser.add_argument("what", choices=["image", "packages"])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the results (default: dist)")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "build", help="folder of what is downloaded")
    parser.add_argument("--no-load", action="store_true", help="do not load the image into docker or podman")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    options.cache.mkdir(parents=True, exist_ok=True)
    try:
        with (options.cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two builds that share what is downloaded go one after the other
            if options.what == "image":
                build_image(options.out.absolute(), options.cache.absolute(), loads=not options.no_load)
            else:
                build_packages(options.out.absolute(), options.cache.absolute())
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def build_image(out: Path, cache: Path, *, loads: bool) -> None:
    """Writes the image into ``out`` as two archives.

    Raises:
        BuildError: something that goes into it cannot be had.
    """
    debian.require_tools()
    source = describe()
    with tempfile.TemporaryDirectory(prefix="roadstead-image-") as folder:
        work = Path(folder)
        layers = image.build_layers(work, cache, wheels.build(work / "own", source))
        packed = [layer.content for layer in layers]
        built = archives.Image(image.configuration(source, layers), packed, image.labels(source))
        oci, docker = (out / f"roadstead-{source.version}.{kind}.tar" for kind in ("oci", "docker"))
        archives.write_oci(built, oci, name="roadstead", tag=source.version)
        archives.write_docker(built, docker, name="roadstead", tags=[source.version, "latest"])
    unpacked = sum(each.unpacked_bytes for each in packed)
    travels = sum(each.size_bytes for each in packed)
    say(f"{oci}\n{docker}")
    say(f"digest {archives.digest_of(built.manifest)}")
    say(f"{unpacked / MEGABYTE:.0f} MB unpacked, {travels / MEGABYTE:.0f} MB to pull")
    if loads:
        engines.load(docker, "roadstead", source.version)


def build_packages(out: Path, cache: Path) -> None:
    """Writes a wheel and a Debian package into ``out``.

    Raises:
        BuildError: something that goes into them cannot be had.
    """
    debian.require_tools()
    source = describe()
    own_wheel = wheels.build(out, source)
    with tempfile.TemporaryDirectory(prefix="roadstead-package-") as folder:
        built = package.build(out, Path(folder), cache, own_wheel, source)
    for path in (own_wheel, built):
        say(f"{path}  ({path.stat().st_size / MEGABYTE:.0f} MB)")
    say(f"\nInstall it as a service of this machine: sudo apt-get install {built}")


if __name__ == "__main__":
    sys.exit(main())
