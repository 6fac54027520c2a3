"""The `ladle` command: finds the group, and says which extra is missing where one is."""

import sys

from ladle.commands.signs import speak_any_encoding

INTERRUPTED = 130


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 the answer is no, 2 usage, 3 cannot reach or read; audits
    have those of docs/audit.md, and `ladle.commands.ending` has what remains."""
    speak_any_encoding()
    try:
        from ladle.commands.app import app
        from ladle.commands.ending import run
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich", "click"):
            raise
        sys.stderr.write("ladle: the command line needs an extra: pip install 'ladle[cli]'\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)  # Before there was a command to end.
    sys.exit(run(app, sys.argv[1:]))


if __name__ == "__main__":
    main()
