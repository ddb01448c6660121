"""Small networks of the kinds people bring, built in torch and exported as torch exports them."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Shape = tuple[int, ...]


def cba(i: int, o: int, k: int = 3, s: int = 1, g: int = 1, act: type[nn.Module] = nn.ReLU):
    return nn.Sequential(
        nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o), act()
    )


class Inverted(nn.Module):
    def __init__(self, i: int, o: int, s: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            cba(i, 3 * i, 1, act=nn.ReLU6),
            cba(3 * i, 3 * i, 3, s, 3 * i, act=nn.ReLU6),
            nn.Conv2d(3 * i, o, 1),
            nn.BatchNorm2d(o),
        )
        self.skip = s == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.skip else self.body(x)


def mobilenet() -> nn.Module:
    return nn.Sequential(
        cba(3, 8, 3, 2, act=nn.ReLU6),
        Inverted(8, 8, 1),
        Inverted(8, 12, 2),
        Inverted(12, 12, 1),
        cba(12, 24, 1, act=nn.ReLU6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(24, 10),
    )


class SqueezeExcite(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(c, c // 2), nn.Linear(c // 2, c)
        self.body = nn.Sequential(cba(c, c), nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        gate = torch.sigmoid(self.b(F.relu(self.a(y.mean((2, 3))))))
        return F.relu(x + y * gate[:, :, None, None])


def se_resnet() -> nn.Module:
    return nn.Sequential(
        cba(3, 8),
        SqueezeExcite(8),
        nn.MaxPool2d(2),
        SqueezeExcite(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


class Shuffle(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        h = c // 2
        self.body = nn.Sequential(
            cba(h, h, 1), nn.Conv2d(h, h, 3, 1, 1, groups=h), nn.BatchNorm2d(h), cba(h, h, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        x = torch.cat([a, self.body(b)], 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def shufflenet() -> nn.Module:
    return nn.Sequential(
        cba(3, 8, 3, 2),
        Shuffle(8),
        Shuffle(8),
        cba(8, 16, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


class Dense(nn.Module):
    def __init__(self, c: int, growth: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(c), nn.Conv2d(c, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)


def densenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        Dense(8, 4),
        Dense(12, 4),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 8, 1),
        nn.AvgPool2d(2),
        Dense(8, 4),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 10),
    )


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = cba(3, 6), cba(6, 8), cba(8, 8)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.d, self.e, self.out = cba(16, 8), cba(14, 6), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(F.max_pool2d(a, 2))
        c = self.c(F.max_pool2d(b, 2))
        d = self.d(torch.cat([self.up(c), b], 1))
        d = F.interpolate(d, scale_factor=2, mode="bilinear", align_corners=False)
        return self.out(self.e(torch.cat([d, a], 1)))


class Yolo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = cba(3, 8, 3, 2, act=nn.SiLU), cba(8, 12, 3, 2, act=nn.SiLU)
        self.split, self.inner = cba(12, 12, 1, act=nn.SiLU), cba(6, 6, 3, act=nn.SiLU)
        self.join, self.low = cba(18, 12, 1, act=nn.SiLU), cba(12, 16, 3, 2, act=nn.SiLU)
        self.pre, self.post = cba(16, 8, 1, act=nn.SiLU), cba(32, 16, 1, act=nn.SiLU)
        self.fuse = cba(28, 12, 1, act=nn.SiLU)
        self.heads = nn.ModuleList([nn.Conv2d(c, 6, 1) for c in (8, 12, 16)])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        small = self.stem(x)
        y = self.split(self.down(small))
        a, b = y.split(6, 1)
        y = self.join(torch.cat([a, b, self.inner(b)], 1))
        z = self.pre(self.low(y))
        pools = [z]
        for _ in range(3):
            pools.append(F.max_pool2d(pools[-1], 5, 1, 2))
        z = self.post(torch.cat(pools, 1))
        y = self.fuse(torch.cat([F.interpolate(z, scale_factor=2.0), y], 1))
        outs = [head(t) for head, t in zip(self.heads, (small, y, z), strict=True)]
        return tuple(
            o.view(o.shape[0], 2, 3, *o.shape[2:]).permute(0, 1, 3, 4, 2).sigmoid() for o in outs
        )


def espcn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 12, 5, padding=2),
        nn.Tanh(),
        nn.Conv2d(12, 8, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(8, 4, 3, padding=1),
        nn.PixelShuffle(2),
        nn.Sigmoid(),
    )


def shuffled_upscaler() -> nn.Module:
    """A pixel shuffle in the middle: copies must live through it."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.PixelShuffle(2),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(),
        nn.PixelUnshuffle(2),
        nn.Conv2d(24, 4, 1),
    )


def one_dimensional() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 8, 5, 2, 2),
        nn.BatchNorm1d(8),
        nn.ELU(),
        nn.Conv1d(8, 8, 3, dilation=2),
        nn.ReLU(),
        nn.ConvTranspose1d(8, 6, 4, 2, 1),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Flatten(),
        nn.Linear(72, 5),
        nn.LogSoftmax(1),
    )


def three_dimensional() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 6, 3, padding=1),
        nn.BatchNorm3d(6),
        nn.ReLU(),
        nn.MaxPool3d(2),
        nn.Conv3d(6, 8, 3, padding=1, groups=2),
        nn.LeakyReLU(0.1),
        nn.ConvTranspose3d(8, 4, 2, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


class Hybrid(nn.Module):
    """Convolutions, then attention over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(cba(3, 8, 3, 2), cba(8, 12, 3, 2))
        self.norm, self.qkv, self.out = nn.LayerNorm(12), nn.Linear(12, 36), nn.Linear(12, 12)
        self.mlp = nn.Sequential(nn.LayerNorm(12), nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 12))
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm(x)).chunk(3, 2)
        x = x + self.out(torch.softmax(q @ k.transpose(1, 2) / 12**0.5, 2) @ v)
        return self.head((x + self.mlp(x)).mean(1))


class Odd(nn.Module):
    """Per-channel constants, gates, InstanceNorm, x − net(x), and one layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.out = nn.InstanceNorm2d(8, affine=True), nn.Conv2d(8, 3, 3, padding=1)
        self.gate = nn.Conv2d(8, 1, 1)
        self.scale = nn.Parameter(torch.rand(8, 1, 1) + 0.5)
        self.prelu = nn.PReLU(8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = F.hardswish(self.a(x))
        y = self.prelu(self.norm(self.b(y))) * self.scale + 0.1
        y = self.b(y) * torch.sigmoid(self.gate(y))
        return x - self.out(F.mish(y)), y


class Pyramid(nn.Module):
    """Dilated convolutions side by side, pooled context, sizes taken from other tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.context = cba(3, 8), cba(8, 6, 1)
        self.branches = nn.ModuleList(
            [nn.Conv2d(8, 6, 3, padding=rate, dilation=rate) for rate in (1, 2, 4)]
        )
        self.join, self.out = cba(24, 8, 1), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(F.avg_pool2d(x, 2))
        parts = [F.relu(branch(y)) for branch in self.branches]
        context = self.context(y.mean((2, 3), keepdim=True))
        parts.append(F.interpolate(context, size=y.shape[2:], mode="bilinear"))
        y = self.out(self.join(torch.cat(parts, 1)))
        return F.interpolate(y, size=x.shape[2:], mode="bilinear")


def generator() -> nn.Module:
    """Transposed convolutions of every kind: output padding, groups, stride 3 with dilation."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=1),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(6, 6, 4, 2, 1, groups=2),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(6, 2, 5, 3, 2, dilation=2),
    )


class ConvNeXt(nn.Module):
    """Channels last in the middle of every block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.norm, self.a, self.b = nn.LayerNorm(8), nn.Linear(8, 32), nn.Linear(32, 8)
        self.scale, self.head = nn.Parameter(torch.full((8,), 0.5)), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.b(F.gelu(self.a(y)))
        return self.head((x + y.permute(0, 3, 1, 2)).mean((2, 3)))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "mobilenet": (mobilenet, (3, 16, 16)),
    "se-resnet": (se_resnet, (3, 16, 16)),
    "shufflenet": (shufflenet, (3, 16, 16)),
    "densenet": (densenet, (3, 16, 16)),
    "unet": (UNet, (3, 16, 16)),
    "yolo": (Yolo, (3, 32, 32)),
    "espcn": (espcn, (1, 12, 12)),
    "upscaler": (shuffled_upscaler, (3, 8, 8)),
    "conv1d": (one_dimensional, (2, 32)),
    "conv3d": (three_dimensional, (1, 8, 8, 8)),
    "hybrid": (Hybrid, (3, 16, 16)),
    "odd": (Odd, (3, 12, 12)),
    "pyramid": (Pyramid, (3, 16, 16)),
    "generator": (generator, (3, 6, 6)),
    "convnext": (ConvNeXt, (3, 16, 16)),
}


def export(name: str, folder: Path, *, dynamic: bool = True, opset: int = 17) -> Path:
    """The network `name` with random weights and BatchNorm statistics."""
    make, shape = NETWORKS[name]
    torch.manual_seed(len(name))
    net = make()
    for module in net.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(),
            (torch.randn(2 if dynamic else 1, *shape),),
            stream,
            dynamo=False,
            opset_version=opset,
            input_names=["x"],
            dynamic_axes={"x": {0: "N"}} if dynamic else None,
        )
    path = folder / f"{name}.onnx"
    path.write_bytes(stream.getvalue())
    return path
