"""`python -m lt_onnx`."""

from lt_onnx.cli.app import main
from lt_onnx.zoo.parent_watch import end_with_parent

end_with_parent()
main()
