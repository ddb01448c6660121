"""A conversion that a zoo started ends with the zoo, even when that is killed outright."""

import os
import signal
import threading

WATCH_PARENT = "LT_ONNX_WATCH_PARENT"  # set where standard input ends with the parent


def end_with_parent() -> None:
    """Be interrupted as soon as the process at the other end of standard input is gone."""
    if WATCH_PARENT not in os.environ:
        return

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin, whose lock an exit would wait for
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
