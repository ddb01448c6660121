"""`python -m lt_onnx`."""

from lt_onnx.cli import main

main()
