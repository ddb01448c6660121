"""The words of tools that sweep: who does the work, and the file that keeps what is finished."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lt_onnx.options import Workers


def add_words(parser: ArgumentParser) -> None:
    """Let a tool be told what `Workers` are, and where rows go."""
    parser.add_argument("--workers", type=int, default=1, help="processes on this machine")
    parser.add_argument("--scheduler", help="address of a Dask scheduler; see docs/cluster.md")
    parser.add_argument("--rows", type=Path, help="JSONL of what is finished, to go on from")


def workers_of(given: Namespace) -> Workers:
    """Who does the work. Raises InputError."""
    return Workers(given.workers, scheduler=given.scheduler)
