"""Small networks as they are built now: attention, windows, normalizations of every kind."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class ScaleOnly(nn.Module):
    """A number for each channel on the last axis: LayerScale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(width) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(width) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale


class ChannelNorm(nn.Module):
    """A LayerNorm over axis 1, by hand."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale, self.shift = (
            nn.Parameter(torch.rand(width) + 0.5),
            nn.Parameter(torch.randn(width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(1, keepdim=True)
        x = x / torch.sqrt(x.pow(2).mean(1, keepdim=True) + 1e-6)
        return self.scale[:, None, None] * x + self.shift[:, None, None]


class Attention(nn.Module):
    """One layer for queries, keys and values; a bias and a mask of the scores, if given."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        n, tokens, width = x.shape
        size = width // self.heads
        q, k, v = (
            self.qkv(x).reshape(n, tokens, 3, self.heads, size).permute(2, 0, 3, 1, 4).unbind(0)
        )
        scores = q * size**-0.5 @ k.transpose(2, 3)
        if bias is not None:
            scores = scores + bias
        if mask is not None:
            windows = len(mask)
            scores = scores.view(-1, windows, self.heads, tokens, tokens) + mask[None, :, None]
            scores = scores.view(n, self.heads, tokens, tokens)
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, tokens, width))


class Block(nn.Module):
    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention, self.scales = (
            Attention(width, heads),
            nn.ModuleList(ScaleOnly(width) for _ in "ab"),
        )
        self.body = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor, *more: Tensor | None) -> Tensor:
        x = x + self.scales[0](self.attention(self.norms[0](x), *more))
        return x + self.scales[1](self.body(self.norms[1](x)))


class ViT(nn.Module):
    """A class token, positions, and a norm behind the residual sum, as encoders have it."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(1, width, 2, 2), nn.Parameter(torch.randn(1, 1, width))
        self.position, self.block = nn.Parameter(torch.randn(1, 17, width)), Block(width)
        self.mixed = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        x = self.norm(self.block(x))  # read by a sum, too
        x = self.norm(x + self.mixed(x, x, x, need_weights=False)[0])
        return self.head(x[:, 0])


class Swin(nn.Module):
    """Windows, rolled and masked; a bias of scores by relative position; merged patches."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patches, self.blocks = (
            nn.Conv2d(1, width, 1),
            nn.ModuleList(Block(width) for _ in "ab"),
        )
        self.table = nn.Parameter(torch.randn(49, 2))
        axes = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
        places = torch.stack(axes).flatten(1)
        apart = (places[:, :, None] - places[:, None]) + 3
        self.register_buffer("index", apart[0] * 7 + apart[1])
        regions = torch.zeros(1, 8, 8, 1)
        for number, rows in enumerate((slice(-4), slice(-4, -2), slice(-2, None))):
            regions[:, rows] += 3 * number
            regions[:, :, rows] += number
        own = self.windows(regions).squeeze(2)
        mask = torch.where(own[:, None] == own[:, :, None], 0.0, -torch.inf)
        self.register_buffer("mask", mask)
        self.norm, self.merge = nn.LayerNorm(4 * width), nn.Linear(4 * width, width, bias=False)
        self.head = nn.Linear(width, 3)

    @staticmethod
    def windows(x: Tensor) -> Tensor:
        n, h, w, width = x.shape
        return (
            x.view(n, h // 4, 4, w // 4, 4, width).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).permute(0, 2, 3, 1)
        bias = self.table[self.index.view(-1)].view(16, 16, 2).permute(2, 0, 1)[None]
        for shift, block in zip((0, 2), self.blocks, strict=True):
            x = torch.roll(x, (-shift, -shift), (1, 2)) if shift else x
            y = block(self.windows(x), bias, self.mask if shift else None)
            y = y.view(-1, 2, 2, 4, 4, y.shape[2]).permute(0, 1, 3, 2, 4, 5).reshape(x.shape)
            x = torch.roll(y, (shift, shift), (1, 2)) if shift else y
        parts = [x[:, i::2, j::2] for j in range(2) for i in range(2)]
        return self.head(self.merge(self.norm(torch.cat(parts, 3))).mean((1, 2)))


class MobileViT(nn.Module):
    """A convolution's tensor unfolded into patches, for attention, and folded back."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.SiLU()
        )
        self.inside, self.block = nn.Conv2d(width, width, 1, bias=False), Block(width)
        self.norm, self.out = nn.LayerNorm(width), nn.Conv2d(2 * width, width, 3, padding=1)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.inside(x)
        n, c, h, w = y.shape
        y = y.reshape(n * c * h // 2, 2, w // 2, 2).transpose(1, 2).reshape(n, c, h * w // 4, 4)
        y = self.norm(self.block(y.transpose(1, 3).reshape(n * 4, h * w // 4, c)))
        y = y.view(n, 4, h * w // 4, c).transpose(1, 3).reshape(n * c * h // 2, w // 2, 2, 2)
        y = y.transpose(1, 2).reshape(n, c, h, w)
        return self.head(F.silu(self.out(torch.cat([x, y], 1))).mean((2, 3)))


class Hybrid(nn.Module):
    """Convolutions with norms of groups and instances, slopes, and Einsums for attention."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem, self.groups = nn.Conv2d(1, width, 3, 2, 1), nn.GroupNorm(2, width)
        self.conv, self.instance = (
            nn.Conv2d(width, width, 3, padding=1),
            nn.InstanceNorm2d(width, affine=True),
        )
        self.slopes, self.channels = (
            nn.ModuleList(nn.PReLU(width) for _ in "ab"),
            ChannelNorm(width),
        )
        self.qkv, self.norm = nn.Conv2d(width, 3 * width, 1), RMSNorm(width)
        self.weights = nn.ParameterList(torch.randn(width, 2, 4) / 2 for _ in range(3))
        self.out, self.head = nn.Parameter(torch.randn(2, 4, width) / 2), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.slopes[0](self.groups(self.stem(x)))
        x = self.channels(x + self.slopes[1](self.instance(self.conv(x))))
        n, c, h, w = x.shape
        q, k, v = self.qkv(x).reshape(n, 3, c, h * w).unbind(1)
        scores = torch.einsum("bcn,bcm->bnm", q, k).softmax(2)
        x = (x.flatten(2) + torch.einsum("bnm,bcm->bcn", scores, v)).transpose(1, 2)
        q, k, v = (torch.einsum("bnc,chd->bhnd", self.norm(x), weight) for weight in self.weights)
        x = x + torch.einsum("bhnd,hdc->bnc", F.scaled_dot_product_attention(q, k, v), self.out)
        return self.head(x.mean(1))


NETWORKS = {"ViT": ViT, "Swin": Swin, "MobileViT": MobileViT, "hybrid": Hybrid}


def export(name: str, folder: Path, *, opset: int) -> Path:
    """The network `name` with random weights, also in its norms."""
    torch.manual_seed(len(name))
    net, path = NETWORKS[name](), folder / f"{name}.onnx"
    for module in net.modules():
        if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.InstanceNorm2d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
        if isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.1, 0.4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(),
            (torch.randn(2, 1, 8, 8),),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=["x"],
            dynamic_axes={"x": {0: "N"}},
        )
    return path
