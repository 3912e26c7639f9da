"""The networks that torchvision does not have, as one writes them in torch; their modules have the names of the files
that such networks come from, where there are any (models/foreign.py)."""

from __future__ import annotations

from typing import Any


def zfnet(torch: Any, name: str, hidden: int, classes: int) -> Any:
    """Figure 3 of the paper, or the layers of zfnet512-12 in the ONNX model zoo."""
    nn: Any = torch.nn
    zoo = name == "zfnet512"
    c3, c4, c5 = {"zfnet": (384, 384, 256), "zfnet_lecture": (512, 1024, 512), "zfnet512": (512, 512, 512)}[name]

    def pool_and_norm() -> list[Any]:
        lrn, pool = nn.LocalResponseNorm(5, alpha=5e-4, k=2.0), nn.MaxPool2d(3, 2, ceil_mode=not zoo)
        return [lrn, pool] if zoo else [pool, lrn]

    return nn.Sequential(
        *(nn.Conv2d(3, 96, 7, 2, padding=0 if zoo else 1), nn.ReLU(), *pool_and_norm()),
        *(nn.Conv2d(96, 256, 5, 2), nn.ReLU(), *pool_and_norm()),
        *(nn.Conv2d(256, c3, 3, padding=1), nn.ReLU(), nn.Conv2d(c3, c4, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(c4, c5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Flatten()),
        *(nn.Linear(c5 * 36, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes)),
    )


def lenet5_1998(torch: Any, connections: Any) -> Any:
    """LeCun et al. 1998, figure 2, for pictures of 32×32; connections: a table of bools (16, 6)."""
    nn: Any = torch.nn
    connected = torch.tensor(connections)[:, :, None, None]

    class Tanh(nn.Module):
        def forward(self, x: Any) -> Any:
            return 1.7159 * torch.tanh(2 / 3 * x)

    class Subsample(nn.Module):
        def __init__(self, maps: int) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.ones(maps)), nn.Parameter(torch.zeros(maps))

        def forward(self, x: Any) -> Any:
            return self.weight[:, None, None] * nn.functional.avg_pool2d(x, 2) + self.bias[:, None, None]

    class TableConv(nn.Conv2d):
        def forward(self, x: Any) -> Any:
            return nn.functional.conv2d(x, self.weight * connected, self.bias)

    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), Tanh(), Subsample(6), Tanh()),
        *(TableConv(6, 16, 5), Tanh(), Subsample(16), Tanh()),
        *(nn.Conv2d(16, 120, 5), Tanh(), nn.Flatten(), nn.Linear(120, 84), Tanh(), nn.Linear(84, 10)),
    )


def darknet_tiny(torch: Any, classes: int) -> Any:
    """By the layers of tiny.cfg, from 0: the maps of each convolution, 3×3 where it is even or the first two."""
    nn: Any = torch.nn
    modules, channels = nn.Sequential(), 3
    for i, maps in enumerate((16, 32, 16, 128, 16, 128, 32, 256, 32, 256, 64, 512, 64, 512, 128)):
        size = 3 if i < 2 or i % 2 else 1
        modules.add_module(f"conv{i}", nn.Conv2d(channels, maps, size, padding=size // 2, bias=False))
        modules.add_module(f"bn{i}", nn.BatchNorm2d(maps, eps=1e-3))
        modules.add_module(f"leaky{i}", nn.LeakyReLU(0.1))
        if i in (0, 1, 5, 9):
            modules.add_module(f"pool{i}", nn.MaxPool2d(2))
        channels = maps
    modules.add_module("conv15", nn.Conv2d(channels, classes, 1))
    modules.add_module("pool15", nn.AdaptiveAvgPool2d(1))
    modules.add_module("flatten", nn.Flatten())
    return modules


def cifar_resnet(torch: Any, depth: int, classes: int, *, shortcuts: bool = True) -> Any:
    """He et al., section 4.2, with option A."""
    nn: Any = torch.nn
    F = nn.functional

    class Block(nn.Module):
        def __init__(self, before: int, maps: int) -> None:
            super().__init__()
            self.stride, self.more = (1, 0) if before == maps else (2, maps - before)
            self.conv1 = nn.Conv2d(before, maps, 3, self.stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(maps)
            self.conv2 = nn.Conv2d(maps, maps, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(maps)

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            if shortcuts:
                half = self.more // 2
                y = y + F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
            return F.relu(y)

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            n = (depth - 2) // 6
            self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            for number, (before, maps) in enumerate(((16, 16), (16, 32), (32, 64)), 1):
                setattr(self, f"layer{number}", nn.Sequential(*(Block(maps if i else before, maps) for i in range(n))))
            self.linear = nn.Linear(64, classes)

        def forward(self, x: Any) -> Any:
            x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
            return self.linear(x.mean(dim=(2, 3)))

    return ResNet()


def googlenet_paper(torch: Any, classes: int, *, auxiliary: bool = False) -> Any:
    """Caffe's bvlc_googlenet. With its auxiliary heads it gives three scores, theirs first."""
    nn: Any = torch.nn

    def conv(*sizes: int, **options: int) -> Any:
        return nn.Sequential(nn.Conv2d(*sizes, **options), nn.ReLU())

    def pool() -> Any:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    def lrn() -> Any:
        return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)

    class Inception(nn.Module):
        def __init__(self, c: int, c1: int, r3: int, c3: int, r5: int, c5: int, p: int) -> None:
            super().__init__()
            self.one = conv(c, c1, 1)
            self.three = nn.Sequential(conv(c, r3, 1), conv(r3, c3, 3, padding=1))
            self.five = nn.Sequential(conv(c, r5, 1), conv(r5, c5, 5, padding=2))
            self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(c, p, 1))

        def forward(self, x: Any) -> Any:
            return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)

    def head(channels: int) -> Any:
        fc = [nn.Flatten(), nn.Linear(2048, 1024), nn.ReLU(), nn.Linear(1024, classes)]
        return nn.Sequential(nn.AvgPool2d(5, 3), conv(channels, 128, 1), *fc)

    class GoogLeNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(
                *(conv(3, 64, 7, stride=2, padding=3), pool(), lrn()),
                *(conv(64, 64, 1), conv(64, 192, 3, padding=1), lrn(), pool()),
                *(Inception(192, 64, 96, 128, 16, 32, 32), Inception(256, 128, 128, 192, 32, 96, 64), pool()),
                Inception(480, 192, 96, 208, 16, 48, 64),
            )
            self.aux1: Any = head(512) if auxiliary else None
            self.second = nn.Sequential(
                *(Inception(512, 160, 112, 224, 24, 64, 64), Inception(512, 128, 128, 256, 24, 64, 64)),
                Inception(512, 112, 144, 288, 32, 64, 64),
            )
            self.aux2: Any = head(528) if auxiliary else None
            self.third = nn.Sequential(
                *(Inception(528, 256, 160, 320, 32, 128, 128), pool()),
                *(Inception(832, 256, 160, 320, 32, 128, 128), Inception(832, 384, 192, 384, 48, 128, 128)),
                *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, classes)),
            )

        def forward(self, x: Any) -> Any:
            first = self.first(x)
            second = self.second(first)
            scores = self.third(second)
            return (self.aux1(first), self.aux2(second), scores) if auxiliary else scores

    return GoogLeNet()
