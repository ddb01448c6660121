"""Train the small targets in `models/` on scikit-learn's digits and export them to ONNX.

Run from the repository root with the `models` extra installed:

    python tools/make_models.py models [name ...]

Writes one `<name>.onnx` per network (BatchNorm unfolded), `digits.samples.npz` (inputs and labels
that no network was trained on) and `digits.calibration.npz` (training inputs).
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from torch import Tensor, nn

EPOCHS = 60
OPSET = 17


class Exporter:
    """Builds an ONNX graph node by node; the weights are the modules' own."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(self, op: str, name: str, inputs: list[str], **attributes: Any) -> str:
        """Append one node; its output is named as it is."""
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def weight(self, name: str, value: Tensor) -> str:
        """Append one initializer."""
        array = value.detach().numpy().astype(np.float32)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def whole(self, name: str, *numbers: int, scalar: bool = False) -> str:
        """Append a vector of integers, or a single one."""
        value = np.array(numbers[0] if scalar else numbers, np.int64)
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def linear(self, name: str, layer: nn.Linear, x: str) -> str:
        """A product over the last axis, and its bias."""
        product = self.node("MatMul", name, [x, self.weight(f"{name}.weight", layer.weight.T)])
        return self.node("Add", f"{name}.add", [self.weight(f"{name}.bias", layer.bias), product])

    def layer_norm(self, name: str, layer: nn.LayerNorm, x: str) -> str:
        """A LayerNormalization of the last axis."""
        parameters = {"weight": layer.weight, "bias": layer.bias}
        inputs = [self.weight(f"{name}.{key}", value) for key, value in parameters.items()]
        return self.node("LayerNormalization", name, [x, *inputs], axis=-1, epsilon=layer.eps)

    def conv(self, name: str, layer: nn.Conv2d, x: str) -> str:
        """A convolution with its bias."""
        inputs = [x, self.weight(f"{name}.weight", layer.weight)]
        if layer.bias is not None:
            inputs.append(self.weight(f"{name}.bias", layer.bias))
        assert not isinstance(layer.padding, str)
        return self.node(
            "Conv",
            name,
            inputs,
            kernel_shape=list(layer.kernel_size),
            strides=list(layer.stride),
            pads=[*layer.padding, *layer.padding],
            group=layer.groups,
        )

    def norm(self, name: str, layer: nn.BatchNorm2d, x: str) -> str:
        """A BatchNormalization in inference form."""
        values = {
            "weight": layer.weight,
            "bias": layer.bias,
            "mean": layer.running_mean,
            "var": layer.running_var,
        }
        inputs = [self.weight(f"{name}.{k}", v) for k, v in values.items() if v is not None]
        return self.node("BatchNormalization", name, [x, *inputs], epsilon=layer.eps)

    def save(self, path: Path, output: str) -> None:
        """Write the graph, its last tensor being the scores."""
        self.node("Identity", "scores", [output])
        graph = helper.make_graph(
            self.nodes,
            path.stem,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 10])],
            self.initializers,
        )
        model = helper.make_model(
            graph, producer_name="lt-onnx tools", opset_imports=[helper.make_opsetid("", OPSET)]
        )
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(path))


def classifier(to: Exporter, head: nn.Linear, x: str) -> str:
    """Flatten and a linear layer."""
    x = to.node("Flatten", "flatten", [x], axis=1)
    weight, bias = to.weight("head.weight", head.weight), to.weight("head.bias", head.bias)
    return to.node("Gemm", "head", [x, weight, bias], transB=1)


class Plain(nn.Module):
    """Two convolutions, pooling, a classifier."""

    def __init__(self, activation: nn.Module, op: str, **attributes: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 12, 3, padding=1)
        self.second = nn.Conv2d(12, 24, 3, padding=1)
        self.head = nn.Linear(24 * 4, 10)
        self.activation, self.op, self.attributes = activation, op, attributes

    def forward(self, x: Tensor) -> Tensor:
        """Scores [N, 10] of images [N, 1, 8, 8]."""
        x = nn.functional.max_pool2d(self.activation(self.first(x)), 2)
        x = nn.functional.max_pool2d(self.activation(self.second(x)), 2)
        return self.head(x.flatten(1))  # type: ignore[no-any-return]

    def export(self, to: Exporter) -> str:
        """The same as ONNX nodes."""
        x = "image"
        for name, layer in (("first", self.first), ("second", self.second)):
            x = to.conv(name, layer, x)
            x = to.node(self.op, f"{name}.activation", [x], **self.attributes)
            x = to.node("MaxPool", f"{name}.pool", [x], kernel_shape=[2, 2], strides=[2, 2])
        return classifier(to, self.head, x)


class Residual(nn.Module):
    """A stem and residual blocks with BatchNorm; a block that widens has a stride and a projection.

    `stages` are (width, blocks) one after the other.
    """

    def __init__(self, *stages: tuple[int, int]) -> None:
        super().__init__()
        self.convs = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        self.blocks: list[str] = []
        width = stages[0][0]
        self._add("stem", 1, width, 3, 1)
        for out, count in stages:
            for _ in range(count):
                number = len(self.blocks)
                name = chr(ord("a") + number) if count == 1 else f"block{number}."
                stride = out // width
                self._add(f"{name}1", width, out, 3, stride)
                self._add(f"{name}2", out, out, 3, 1)
                if stride > 1:
                    self._add(f"{name}0", width, out, 1, stride)
                self.blocks.append(name)
                width = out
        self.head = nn.Linear(width, 10)

    def _add(self, name: str, i: int, o: int, kernel: int, stride: int) -> None:
        key = name.replace(".", "_")
        self.convs[key] = nn.Conv2d(i, o, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.norms[key] = nn.BatchNorm2d(o)

    def _layer(self, name: str, x: Tensor) -> Tensor:
        key = name.replace(".", "_")
        return self.norms[key](self.convs[key](x))  # type: ignore[no-any-return]

    def _projects(self, name: str) -> bool:
        return f"{name}0".replace(".", "_") in self.convs

    def forward(self, x: Tensor) -> Tensor:
        """Scores [N, 10] of images [N, 1, 8, 8]."""
        x = self._layer("stem", x).relu()
        for name in self.blocks:
            y = self._layer(f"{name}2", self._layer(f"{name}1", x).relu())
            x = ((self._layer(f"{name}0", x) if self._projects(name) else x) + y).relu()
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]

    def export(self, to: Exporter) -> str:
        """The same as ONNX nodes."""

        def layer(name: str, x: str) -> str:
            conv, norm = (part[name.replace(".", "_")] for part in (self.convs, self.norms))
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            return to.norm(f"{name}.norm", norm, to.conv(name, conv, x))

        def relu(name: str, x: str) -> str:
            return to.node("Relu", f"{name}.relu", [x])

        x = relu("stem", layer("stem", "image"))
        for name in self.blocks:
            y = layer(f"{name}2", relu(f"{name}1", layer(f"{name}1", x)))
            skip = layer(f"{name}0", x) if self._projects(name) else x
            plain = name.removesuffix(".")
            x = relu(plain, to.node("Add", f"{plain}.add", [skip, y]))
        return classifier(to, self.head, to.node("GlobalAveragePool", "pool", [x]))


class Depthwise(nn.Module):
    """A stem and two depthwise-separable blocks with ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        for name, i, o, k, s, g in (
            ("stem", 1, 16, 3, 1, 1),
            ("deep1", 16, 16, 3, 1, 16),
            ("point1", 16, 32, 1, 1, 1),
            ("deep2", 32, 32, 3, 2, 32),
            ("point2", 32, 48, 1, 1, 1),
        ):
            self.convs[name] = nn.Conv2d(i, o, k, stride=s, padding=k // 2, groups=g, bias=False)
            self.norms[name] = nn.BatchNorm2d(o)
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores [N, 10] of images [N, 1, 8, 8]."""
        for name, conv in self.convs.items():
            x = nn.functional.relu6(self.norms[name](conv(x)))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]

    def export(self, to: Exporter) -> str:
        """The same as ONNX nodes."""
        low, high = to.weight("low", torch.tensor(0.0)), to.weight("high", torch.tensor(6.0))

        x = "image"
        for name, conv in self.convs.items():
            norm = self.norms[name]
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            x = to.norm(f"{name}.norm", norm, to.conv(name, conv, x))
            x = to.node("Clip", f"{name}.relu6", [x, low, high])
        x = to.node("GlobalAveragePool", "pool", [x])
        return classifier(to, self.head, x)


class Transformer(nn.Module):
    """A class token and tokens of 2x2 pixels, blocks of attention and of a GELU between layers."""

    TOKENS = 17

    def __init__(self, width: int, blocks: int, heads: int) -> None:
        super().__init__()
        self.width, self.heads, self.size = width, heads, width // heads
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.token = nn.Parameter(torch.randn(1, 1, width) / 8)
        self.position = nn.Parameter(torch.randn(1, self.TOKENS, width) / 8)
        self.blocks = nn.ModuleList()
        for _ in range(blocks):
            parts: dict[str, nn.Module] = {
                "norm1": nn.LayerNorm(width),
                "qkv": nn.Linear(width, 3 * width),
                "out": nn.Linear(width, width),
                "norm2": nn.LayerNorm(width),
                "wide": nn.Linear(width, 2 * width),
                "narrow": nn.Linear(2 * width, width),
            }
            self.blocks.append(nn.ModuleDict(parts))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores [N, 10] of images [N, 1, 8, 8]."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        for block in self.blocks:
            assert isinstance(block, nn.ModuleDict)
            parts = block["qkv"](block["norm1"](x)).unflatten(2, (3, self.heads, self.size))
            q, k, v = parts.permute(2, 0, 3, 1, 4)
            mixed = (q * self.size**-0.5 @ k.transpose(2, 3)).softmax(-1) @ v
            x = x + block["out"](mixed.transpose(1, 2).flatten(2))
            wide = nn.functional.gelu(block["wide"](block["norm2"](x)))
            x = x + block["narrow"](wide)
        return self.head(self.norm(x)[:, 0])  # type: ignore[no-any-return]

    def export(self, to: Exporter) -> str:
        """The same as ONNX nodes."""
        first = to.whole("first", 0, scalar=True)
        count = to.node(
            "Slice",
            "count",
            [
                to.node("Shape", "shape", ["image"]),
                *(to.whole(name, value) for name, value in (("from", 0), ("to", 1))),
            ],
        )
        sizes = to.node(
            "Concat", "token.sizes", [count, to.whole("token.rest", 1, self.width)], axis=0
        )
        token = to.node("Expand", "token.each", [to.weight("token", self.token), sizes])
        x = to.conv("patches", self.patches, "image")
        x = to.node("Reshape", "patches.flat", [x, to.whole("flat", 0, self.width, -1)])
        x = to.node("Transpose", "patches.tokens", [x], perm=[0, 2, 1])
        x = to.node("Concat", "tokens", [token, x], axis=1)
        x = to.node("Add", "placed", [x, to.weight("position", self.position)])
        to.whole("parts", 0, self.TOKENS, 3, self.heads, self.size)
        to.whole("joined", 0, self.TOKENS, self.width)
        for name, value in (
            ("root", 2**0.5),
            ("one", 1.0),
            ("half", 0.5),
            ("size", self.size**-0.5),
        ):
            to.weight(name, torch.tensor(value))
        for number in range(3):
            to.whole(f"part{number}", number, scalar=True)
        for number, block in enumerate(self.blocks):
            assert isinstance(block, nn.ModuleDict)
            x = self._export_block(to, f"block{number}", block, x)
        x = to.node("Gather", "chosen", [to.layer_norm("norm", self.norm, x), first], axis=1)
        return to.node(
            "Gemm",
            "head",
            [x, to.weight("head.weight", self.head.weight), to.weight("head.bias", self.head.bias)],
            transB=1,
        )

    def _export_block(self, to: Exporter, name: str, block: nn.ModuleDict, x: str) -> str:
        """One block, behind the tensor x."""

        def node(op: str, part: str, *inputs: str, **attributes: Any) -> str:
            return to.node(op, f"{name}.{part}", [*inputs], **attributes)

        def linear(part: str, x: str) -> str:
            layer = block[part]
            assert isinstance(layer, nn.Linear)
            return to.linear(f"{name}.{part}", layer, x)

        def norm(part: str, x: str) -> str:
            layer = block[part]
            assert isinstance(layer, nn.LayerNorm)
            return to.layer_norm(f"{name}.{part}", layer, x)

        parts = node("Reshape", "apart", linear("qkv", norm("norm1", x)), "parts")
        parts = node("Transpose", "each", parts, perm=[2, 0, 3, 1, 4])
        q, k, v = (node("Gather", part, parts, f"part{i}", axis=0) for i, part in enumerate("qkv"))
        turned = node("Transpose", "turned", k, perm=[0, 1, 3, 2])
        scores = node("MatMul", "scores", node("Mul", "scaled", q, "size"), turned)
        mixed = node("MatMul", "mixed", node("Softmax", "weights", scores, axis=-1), v)
        mixed = node("Transpose", "back", mixed, perm=[0, 2, 1, 3])
        x = node("Add", "mixed.add", x, linear("out", node("Reshape", "joined", mixed, "joined")))
        wide = linear("wide", norm("norm2", x))
        error = node("Erf", "erf", node("Div", "rooted", wide, "root"))
        bent = node("Mul", "bent", wide, node("Add", "raised", error, "one"))
        return node("Add", "add", x, linear("narrow", node("Mul", "gelu", bent, "half")))


def train(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Adam with a falling rate, batches of 64."""
    optimiser = torch.optim.Adam(model.parameters(), 4e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    model.train()
    for _ in range(EPOCHS):
        for batch in torch.split(torch.randperm(len(x)), 64):
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        schedule.step()
    model.eval()


def main(folder: Path, only: list[str]) -> None:
    """Train, export and report the accuracy of every network, or of those named."""
    digits = load_digits()
    images = torch.tensor((digits.images[:, None] - 4.9) / 6.0, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    test, rest = order[:500], order[500:]
    np.savez_compressed(
        folder / "digits.samples.npz", image=images[test].numpy(), labels=labels[test].numpy()
    )
    np.savez_compressed(folder / "digits.calibration.npz", image=images[rest[:256]].numpy())
    torch.manual_seed(0)
    networks: dict[str, Plain | Residual | Depthwise | Transformer] = {
        "plain-relu": Plain(nn.ReLU(), "Relu"),
        "plain-leakyrelu": Plain(nn.LeakyReLU(0.1), "LeakyRelu", alpha=0.1),
        "plain-tanh": Plain(nn.Tanh(), "Tanh"),
        "plain-sigmoid": Plain(nn.Sigmoid(), "Sigmoid"),
        "residual": Residual((12, 1), (24, 1)),
        "depthwise": Depthwise(),
        "deep": Residual((8, 9), (16, 9), (32, 9)),  # 56 layers
        "transformer": Transformer(32, blocks=2, heads=4),
    }
    for name, model in networks.items():
        if only and name not in only:
            continue
        train(model, images[rest], labels[rest])
        exporter = Exporter()
        exporter.save(folder / f"{name}.onnx", model.export(exporter))
        with torch.no_grad():
            accuracy = (model(images[test]).argmax(1) == labels[test]).float().mean().item()
        print(f"{name}: {100 * accuracy:.1f} % of {len(test)}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "models"), sys.argv[2:])
