"""From an ONNX file of anybody's to a `Target`: what can go wrong with a file goes wrong here.

In comes a path, out goes a Target: linear layers to construct, and other operators as they are.

1. `model_file` loads the file (`protobuf`, `external_data`), `refusals` says what is not read.
2. `graph` makes plain nodes of it: `float32`, `topology` (order), `constant_folding`, which has
   shapes inferred (`inference`; `sized`: for given inputs) and constants computed in a `sandbox`,
   `shape_values`, which follows sizes that are known in part, `conditionals`, for an If that they
   decide, and `repeated`, for what is the same for every input; `inputs` and `outputs` say what
   these are like.
3. `lowering` applies the rules, one in each file: `remove_identity`, `fuse_affine` and
   `fuse_into_readers` (with `affine` and `channel_axis`), `linear_layers`, `einsum`, `depthwise`,
   `conv_transpose`, `normalization`, `constructed_constants` (these with `made_tensors`);
   `rewriting` has what they share.

`operator_sets` writes nodes as a later operator set has them, and back.

The code is our own, and not onnx-graphsurgeon's, for what `constant_folding` says was measured.
"""
