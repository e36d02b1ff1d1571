"""The linters, type checkers and walls hold, with the project's own configuration."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

COMMANDS: dict[str, list[str | Path]] = {
    "ruff": [BIN / "ruff", "check", "--quiet", "--output-format=concise"],
    "format": [BIN / "ruff", "format", "--check", "--quiet"],
    "mypy": [BIN / "mypy"],
    "basedpyright": [BIN / "basedpyright", "--level=error"],
    "walls": [BIN / "lint-imports", "--no-cache"],
    "dependencies": [BIN / "deptry", "src"],
}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", COMMANDS)
def test_passes(name: str) -> None:
    done = subprocess.run(COMMANDS[name], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run `make lint`:\n{done.stdout}\n{done.stderr}"
