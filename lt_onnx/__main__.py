"""The command line: `lt-onnx`, or `python -m lt_onnx`."""

import sys


def main() -> None:
    """Run the command line; an interrupt while it is loaded is told as one later is."""
    try:
        from lt_onnx.cli.app import main as run
    except KeyboardInterrupt:
        sys.stderr.write("lt-onnx: interrupted; nothing was left behind\n")
        sys.exit(3)
    run()


if __name__ == "__main__":
    main()
