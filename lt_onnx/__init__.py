"""lt-onnx: trained ONNX networks as strong lottery tickets."""

__version__ = "0.1.0"
