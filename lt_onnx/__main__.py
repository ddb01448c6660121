"""`python -m lt_onnx`."""

from lt_onnx.cli.app import main

main()
