"""Run the command as ``python -m wxnotify.cli``."""

from . import main

if __name__ == "__main__":
    raise SystemExit(main())
