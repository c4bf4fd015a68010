"""
Run the demo or the tests, on a machine with nothing but Python 3.10 and this clone.

    python run.py demo [--keep ...]    watch the library work, from end to end
    python run.py test                 the whole suite, with its coverage
    python run.py test ARGUMENT ...    pytest with these arguments

Makes an environment in .venv beside this file, one for each version of Python,
and installs the project there. Needs the network the first time, and again when
pyproject.toml has changed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE / ".venv" / f"py{sys.version_info[0]}.{sys.version_info[1]}-{sys.platform}"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

# What is installed for each command, as arguments that pip and uv both take, here.
PARTS = {"demo": ["--editable", "."], "test": ["--editable", ".", "--group", "tests"]}


def main(arguments):
    """Run a command; return its exit code."""
    if sys.version_info < (3, 10):  # noqa: UP036 - whoever runs an older one should be told
        print(f"wxnotify needs Python 3.10 or newer; this is {sys.version} {sys.executable}", file=sys.stderr)
        return 2
    if arguments[:1] in (["-h"], ["--help"]):
        print(__doc__.strip())
        return 0
    if not arguments or arguments[0] not in PARTS:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    command, *rest = arguments
    try:
        prepare(command)
    except subprocess.CalledProcessError as error:
        print(f"\nrun.py: could not prepare {ENVIRONMENT}: {' '.join(error.cmd)}", file=sys.stderr)
        print("On Debian and Ubuntu, the package python3-venv is needed; or install uv.", file=sys.stderr)
        return 2
    if command == "demo":
        return run([PYTHON, "-m", "wxnotify.cli", "demo", *rest])
    if rest:
        return run([PYTHON, "-m", "pytest", *rest], cwd=HERE)
    return run([PYTHON, "-m", "coverage", "run", "-m", "pytest"], cwd=HERE) or run(
        [PYTHON, "-m", "coverage", "report"], cwd=HERE
    )


def prepare(command):
    """Make the environment and install what *command* needs, unless that was done before."""
    wanted = hashlib.sha256((HERE / "pyproject.toml").read_bytes()).hexdigest()
    stamp = ENVIRONMENT / f"installed-for-{command}"
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"run.py: preparing {ENVIRONMENT} ...", file=sys.stderr, flush=True)
    if not prepare_with_uv(PARTS[command]):
        prepare_with_pip(PARTS[command])
    stamp.write_text(wanted)


def prepare_with_uv(parts):
    """Do it the fast way; False if there is no uv, or it failed."""
    uv = shutil.which("uv")
    if not uv:
        return False
    make = [uv, "venv", "--quiet", "--python", sys.executable, ENVIRONMENT]
    install = [uv, "pip", "install", "--quiet", "--python", PYTHON, *parts]
    return (PYTHON.exists() or run(make) == 0) and run(install, cwd=HERE) == 0


def prepare_with_pip(parts):
    """Do it with what comes with Python."""
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check"]
    if not PYTHON.exists() or run([*pip, "--version"], stdout=subprocess.DEVNULL) != 0:
        check([sys.executable, "-m", "venv", "--clear", ENVIRONMENT])
    if "--group" in parts:
        check([*pip, "install", "--quiet", "--upgrade", "pip>=25.1"])  # the first that knows --group
    check([*pip, "install", "--quiet", *parts])


def check(command):
    """Run a command that must succeed."""
    code = run(command, cwd=HERE, stdout=sys.stderr)
    if code:
        raise subprocess.CalledProcessError(code, list(map(str, command)))


def run(command, **options):
    """Run a command; return its exit code, as a shell would."""
    with subprocess.Popen(list(map(str, command)), **options) as process:
        while True:
            try:
                code = process.wait()
                return code if code >= 0 else 128 - code
            except KeyboardInterrupt:
                pass  # Ctrl-C went to the command too, which ends by itself


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
