"""Run the command as ``python -m wxnotify.testing.chaos``."""

from .command import main

if __name__ == "__main__":
    raise SystemExit(main())
