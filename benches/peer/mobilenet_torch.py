"""MobileNetV2 of width 1 with its batch norms folded, in four stages, as the backbone of qrnet_torch.py.

Weights are those of scripts/convert-backbone.py, without their prefix `visumodel.backbone.`. Pictures are normalised by
ImageNet's mean and standard deviation. Run as a program, it is compared with the frozen graph in OpenVINO:

    python benches/peer/mobilenet_torch.py backbone.safetensors frozen_inference_graph.pb [PICTURE…]
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Output channels and stride of the 17 blocks; every stage's last block.
BLOCKS = [(16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1), (64, 1), (96, 1), (96, 1),
          (96, 1), (160, 2), (160, 1), (160, 1), (320, 1)]
STAGES = [range(0, 3), range(3, 6), range(6, 13), range(13, 17)]
CHANNELS = [24, 32, 96, 320]  # of the stages' maps


def strides(output_stride: int) -> list[int]:
    """Pixels a cell of the stages' maps."""
    return [4, 8, 16, output_stride]


def same(x: Tensor, side: int, stride: int, dilation: int, value: float = 0.0) -> Tensor:
    """Pads as TensorFlow's SAME does: in all what the last window lacks, the odd pixel right and below."""
    reach = (side - 1) * dilation + 1
    pads: list[int] = []
    for size in (x.shape[-1], x.shape[-2]):
        lack = max((-(-size // stride) - 1) * stride + reach - size, 0)
        pads += [lack // 2, lack - lack // 2]
    return F.pad(x, pads, value=value)


class Conv(nn.Module):
    """A convolution's weight and bias under the module's own name."""

    def __init__(self, i: int, o: int, side: int, stride: int = 1, dilation: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(o, i // groups, side, side))
        self.bias = nn.Parameter(torch.zeros(o))
        self.stride, self.dilation, self.groups = stride, dilation, groups
        nn.init.kaiming_normal_(self.weight)

    def forward(self, x: Tensor, padded: bool = False) -> Tensor:
        if not padded:
            x = same(x, self.weight.shape[-1], self.stride, self.dilation)
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Block(nn.Module):
    """Expand, filter channel by channel, project; added to its input where the shapes are one."""

    def __init__(self, i: int, o: int, stride: int, dilation: int, expands: bool) -> None:
        super().__init__()
        inner = 6 * i if expands else i
        if expands:
            self.expand = Conv(i, inner, 1)
        self.depthwise = Conv(inner, inner, 3, stride, dilation, inner)
        self.project = Conv(inner, o, 1)
        self.expands, self.residual = expands, stride == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.expand(x)) if self.expands else x
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """With `output_stride` 16, block 13 does not halve the map and the blocks after it filter with dilation 2."""

    def __init__(self, output_stride: int = 32) -> None:
        super().__init__()
        assert output_stride in (16, 32), output_stride
        self.stem = Conv(3, 32, 3, 2)
        blocks, i = [], 32
        for number, (o, stride) in enumerate(BLOCKS):
            late = output_stride == 16 and number >= 13
            blocks.append(Block(i, o, 1 if late else stride, 2 if late and number > 13 else 1, number > 0))
            i = o
        self.blocks = nn.ModuleList(blocks)

    def start(self, image: Tensor, grey: bool = False) -> Tensor:
        """The stem. `grey` pads with what a zero was to the detector, mid-grey, in place of the mean colour."""
        if grey:
            mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
            border = ((0.5 - mean) / std)[:, None, None]
            image = same(image - border, 3, 2, 1) + border
        return F.relu6(self.stem(image, padded=grey))

    def stage(self, number: int, x: Tensor) -> Tensor:
        for i in STAGES[number]:
            x = self.blocks[i](x)
        return x

    def forward(self, image: Tensor, grey: bool = False) -> list[Tensor]:
        """image [B,3,H,W] -> four maps [B,C,H/4,W/4] … [B,C,H/output_stride,…]."""
        x, maps = self.start(image, grey), []
        for number in range(len(STAGES)):
            x = self.stage(number, x)
            maps.append(x)
        return maps


def main(weights: str, graph: str, *pictures: str) -> None:
    """Largest differences of the four maps over the largest value, for noise and for pictures of 256x256."""
    import numpy as np
    import openvino as ov
    from openvino.frontend import FrontEndManager
    from safetensors.torch import load_file

    torch.set_num_threads(1)
    model = MobileNetV2().eval()
    prefix = "visumodel.backbone."
    model.load_state_dict({name.removeprefix(prefix): value for name, value in load_file(weights).items()})

    root = "FeatureExtractor/MobilenetV2"
    frontend = FrontEndManager().load_by_framework("tf")
    places = frontend.load(graph)
    start = places.get_place_by_tensor_name(f"{root}/MobilenetV2/input:0")
    ends = [places.get_place_by_tensor_name(f"{root}/expanded_conv_{stage[-1]}/output:0") for stage in STAGES]
    places.override_all_inputs([start])
    places.override_all_outputs(ends)
    read = frontend.convert(places)
    for parameter in read.get_parameters():  # the detector's own input stays, cut off
        if start.get_names()[0] not in parameter.output(0).names:
            read.remove_parameter(parameter)
    read.reshape([1, 256, 256, 3])
    precise = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    reference = ov.compile_model(read, "CPU", precise)

    rng = np.random.default_rng(0)
    given = {"noise": rng.integers(0, 256, (256, 256, 3))}
    for path in pictures:
        from PIL import Image

        given[path] = np.asarray(Image.open(path).convert("RGB").resize((256, 256)))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for name, pixels in given.items():
        theirs = reference((pixels / 127.5 - 1)[None].astype(np.float32))
        ours = torch.from_numpy(((pixels / 255 - mean) / std).astype(np.float32)).permute(2, 0, 1)[None]
        for grey in (True, False):  # the detector's own border, and the one we live with
            with torch.no_grad():
                maps = model(ours, grey)
            off = []
            for i, x in enumerate(maps):
                y = torch.from_numpy(theirs[i]).permute(0, 3, 1, 2)
                off.append(f"{((x - y).abs().max() / y.abs().max()).item():.1e} (rms {((x - y).norm() / y.norm()).item():.1e})")
            print(name, "the graph's border:" if grey else "zero border:", ", ".join(off))


if __name__ == "__main__":
    main(*sys.argv[1:])
