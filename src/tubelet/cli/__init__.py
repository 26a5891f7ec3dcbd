"""The command line: arguments → one call. The only package that prints."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from tubelet.errors import TubeletError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `tubelet`; returns the exit code: 0 fine, 2 the user's mistake, 1 a failure,
    130 after Ctrl-C."""
    from tubelet.cli.app import app

    try:
        app(args=None if arguments is None else list(arguments))
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except TubeletError as error:
        lines = [f"error: {error}", *getattr(error, "__notes__", ())]
        sys.stderr.write("\n".join(lines) + "\n")
        return error.exit_code
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130  # what a shell reports for it
    except Exception:
        sys.stderr.write("internal error: this is a bug in tubelet, please report it\n")
        traceback.print_exc()
        return 1
    return 0


def script() -> None:
    """The console script's entry point."""
    sys.exit(main())
