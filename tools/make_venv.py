"""Make the virtual environment with the pinned packages; plain Python, nothing installed yet."""

import importlib.util
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

EXTRAS = "study,bench,metrics,scale,dev"


def main():
    """Check what must be there, then install; one sentence says what is missing."""
    problem = missing()
    if problem:
        print(f"statecache: {problem}", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"Making {folder} …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    print("Installing the pinned packages (once; about 1.6 GB) …", flush=True)
    # First pip itself: the one that older systems bring cannot resolve these packages.
    code = install(python, "pip") or install(python, "--editable", f"{ROOT}[{EXTRAS}]")
    if code:
        print(
            "statecache: the packages could not be installed: see pip's words above.",
            file=sys.stderr,
        )
    return code


def install(python, *what):
    """Install with the pinned versions; return pip's exit code."""
    command = [
        str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--constraint", str(ROOT / "constraints.txt"), "--upgrade", *what,
    ]  # fmt: skip
    return subprocess.run(command, check=False).returncode


def missing():
    """Return what this machine lacks, in a sentence, or nothing."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this very check
        return (
            f"Python {platform.python_version()} is too old: install 3.11 or newer, or name it "
            "with `make PYTHON=python3.12 …`."
        )
    if sys.platform not in ("linux", "darwin"):
        return f"{sys.platform} is not supported: use Linux (glibc) or macOS."
    if sys.platform == "linux" and platform.libc_ver()[0] != "glibc":
        return "this Linux has no glibc, which the embedded servers need: use another image."
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        return (
            "this Python cannot make virtual environments: install its venv module (on Debian "
            f"and Ubuntu: apt install python3.{sys.version_info.minor}-venv)."
        )
    return ""


if __name__ == "__main__":
    sys.exit(main())
