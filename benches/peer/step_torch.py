"""Time of one training step in PyTorch: QRNet on MobileNetV2 at the photographs' size, random pictures and queries.

    python benches/peer/step_torch.py [--threads 1] [--steps 10] [--batch 16] [--output-stride 32] [--token-stride 16]
                                      [--channels-last] [--backbone backbone.safetensors]

A step is forward, losses, backward, clipping and AdamW. The losses are crates/qrnet-train/src/objective.rs's, without
class and colour; the stem, the first two stages and the word rows are frozen. There is no dropout: qrnet_torch.py knows
none. One line of JSON: median seconds of a step and of its parts, and of processor time, which a busy machine does not change.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from typing import Any

PARSER = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
PARSER.add_argument("--threads", type=int, default=1)
PARSER.add_argument("--steps", type=int, default=10, help="timed ones; two go before them")
PARSER.add_argument("--batch", type=int, default=16)
PARSER.add_argument("--output-stride", type=int, default=32)
PARSER.add_argument("--token-stride", type=int, help="default: the last level's")
PARSER.add_argument("--channels-last", action="store_true", help="the layout that convolutions on a CPU may prefer")
PARSER.add_argument("--backbone", help="pretrained weights; else random ones")
OPTIONS = PARSER.parse_args()
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(OPTIONS.threads)

import torch  # noqa: E402  (threads are set before)
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from mobilenet_torch import STAGES  # noqa: E402
from qrnet_torch import QRNet, Taps, box_losses, corners, level_strides  # noqa: E402

FROZEN = 2  # stages, and the stem
CONFIG: dict[str, Any] = {
    "imsize": 256,
    "max_query_len": 20,
    "mobilenet": {"output_stride": OPTIONS.output_stride, "frozen_stages": FROZEN},
    "qdatt": {"k": 8, "reduction_ratio": 16, "from_stage": 2},
    "neck": {"out_channels": 128, "levels": [1, 2, 3] if OPTIONS.output_stride == 32 else [0, 1, 3]},
    "bert": {"vocab_size": 30522, "hidden_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4,
             "intermediate_size": 768, "max_position_embeddings": 20, "type_vocab_size": 2, "layer_norm_eps": 1e-12},
    "vl": {"hidden_dim": 128, "nheads": 4, "dim_feedforward": 384, "enc_layers": 3},
}
if OPTIONS.token_stride is not None:
    CONFIG["vl"]["token_stride"] = OPTIONS.token_stride
WEIGHTS = {"l1": 3.0, "giou": 2.0, "presence": 0.5, "token_heat": 1.0, "neck_heat": 0.4, "token_box": 0.5, "attention": 0.3}
RATE, BACKBONE_RATE, ABSENT = 5e-4, 0.1, 0.2


def coverage(boxes: Tensor, present: Tensor, side: int) -> Tensor:
    """Share of every cell of a side x side map that the box covers: [B, side * side], 0 for absent things."""
    edges, at = corners(boxes) * side, torch.arange(side)
    along = lambda a, b: (torch.minimum(b[:, None], at + 1.0) - torch.maximum(a[:, None], at)).clamp(min=0)  # [B,side]
    x, y = along(edges[:, 0], edges[:, 2]), along(edges[:, 1], edges[:, 3])
    return (y[:, :, None] * x[:, None, :]).flatten(1) * present[:, None]


def balanced(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy, each side over its own mass."""
    positive = targets.sum().clamp(min=1)
    negative = (targets.numel() - targets.sum()).clamp(min=1)
    return (F.softplus(-logits) * targets).sum() / positive + (F.softplus(logits) * (1 - targets)).sum() / negative


class Objective(nn.Module):
    """The heads of the losses; presence, which ships, is among them, as QRNet here has none."""

    def __init__(self) -> None:
        super().__init__()
        d, neck, text = CONFIG["vl"]["hidden_dim"], CONFIG["neck"]["out_channels"], CONFIG["bert"]["hidden_size"]
        self.presence, self.token_heat, self.neck_text = nn.Linear(d, 1), nn.Linear(d, 1), nn.Linear(text, neck)
        self.neck_bias = nn.Parameter(torch.full((3,), -2.0))
        nn.init.constant_(self.token_heat.bias, -2.0)
        nn.init.zeros_(self.neck_text.bias)

    def forward(self, model: QRNet, tap: Taps, pred: Tensor, boxes: Tensor, present: Tensor) -> Tensor:
        terms: dict[str, Tensor] = {}
        there = present > 0
        terms["l1"], terms["giou"] = box_losses(pred[there], boxes[there])
        terms["presence"] = F.binary_cross_entropy_with_logits(self.presence(tap["reg_feature"]).squeeze(-1), present)

        sides = [CONFIG["imsize"] // stride for stride in level_strides(CONFIG)]
        shares = [coverage(boxes, present, side) for side in sides]
        level = model.token_level
        wanted = torch.cat(shares[level : level + 2], 1)  # [B,N]
        front, last = 1 + CONFIG["max_query_len"], CONFIG["vl"]["enc_layers"] - 1
        tokens = tap[f"vl.layer{last}"].transpose(0, 1)[:, front:]  # [B,N,D]
        terms["token_heat"] = balanced(self.token_heat(tokens).squeeze(-1), wanted)

        query = self.neck_text(tap["text_features"][:, 0])  # [B,C]
        query = query / query.shape[1] ** 0.5
        heats = []
        for i in range(3):
            logits = torch.einsum("bchw,bc->bhw", tap[f"neck.out{i}"], query).flatten(1) + self.neck_bias[i]
            heats.append(balanced(logits, shares[i]))
        terms["neck_heat"] = torch.stack(heats).sum()

        rows = wanted.flatten().nonzero().squeeze(1)
        if len(rows):
            first, second, third = model.bbox_embed["layers"]
            x = tokens.reshape(-1, tokens.shape[-1])[rows]
            each = third(F.relu(second(F.relu(first(x))))).sigmoid()
            weight = wanted.flatten()[rows]
            terms["token_box"] = (box_rows(each, boxes[rows // wanted.shape[1]]) * weight).sum() / weight.sum()

        reg = tap[f"vl.layer{last}.weights"][:, :, 0, front:].mean(1)  # [B,N]
        mass = (reg * (wanted > 0)).sum(1)[there] + 1e-6
        terms["attention"] = -mass.log().mean()
        return sum((WEIGHTS[name] * value for name, value in terms.items()), torch.zeros(()))


def box_rows(pred: Tensor, target: Tensor) -> Tensor:
    """L1 + 1 - GIoU of every row."""
    a, b = corners(pred), corners(target)
    area = lambda size: size.prod(-1)
    inter = area((torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0))
    union = area(a[:, 2:] - a[:, :2]) + area(b[:, 2:] - b[:, :2]) - inter
    hull = area(torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2]))
    return (pred - target).abs().sum(1) + 1 - inter / union + (hull - union) / hull


def batch(g: torch.Generator) -> tuple[list[Tensor], Tensor, Tensor]:
    """The model's inputs, boxes and who is present."""
    n, side, length = OPTIONS.batch, CONFIG["imsize"], CONFIG["max_query_len"]
    image = torch.randn(n, 3, side, side, generator=g)
    ignored = torch.zeros(n, side, side, dtype=torch.bool)
    ignored[:, :32], ignored[:, -32:] = True, True  # a wide picture's letterbox
    image[ignored[:, None].expand_as(image)] = 0.0
    words = torch.randint(3, 9, (n, 1), generator=g)
    mask = (torch.arange(length) < words + 2).long()
    ids = torch.randint(1000, CONFIG["bert"]["vocab_size"], (n, length), generator=g) * mask
    size = 0.1 + 0.4 * torch.rand(n, 2, generator=g)
    centre = size / 2 + (1 - size) * torch.rand(n, 2, generator=g)
    present = (torch.arange(n) >= round(ABSENT * n)).float()
    if OPTIONS.channels_last:
        image = image.contiguous(memory_format=torch.channels_last)
    return [image, ignored, ids, mask], torch.cat([centre, size], 1), present


def frozen(model: QRNet) -> list[nn.Module]:
    backbone = model.visumodel["backbone"]
    return [backbone.stem, *(backbone.blocks[i] for stage in STAGES[:FROZEN] for i in stage),
            model.textmodel["bert"].embeddings.word_embeddings]


def main() -> None:
    torch.set_num_threads(OPTIONS.threads)
    torch.manual_seed(0)
    model, objective = QRNet(CONFIG), Objective()
    if OPTIONS.backbone:
        from safetensors.torch import load_file

        unknown = model.load_state_dict(load_file(OPTIONS.backbone), strict=False).unexpected_keys
        assert not unknown, unknown
    if OPTIONS.channels_last:
        model.visumodel.to(memory_format=torch.channels_last)
    for part in frozen(model):
        part.requires_grad_(False)
    # Heads that are read by nobody get no gradient and cost nothing.
    slow = [p for p in model.visumodel["backbone"].parameters() if p.requires_grad]
    known = {id(p) for p in slow}
    fast = [p for p in [*model.parameters(), *objective.parameters()] if p.requires_grad and id(p) not in known]
    groups = [{"params": slow, "lr": RATE * BACKBONE_RATE}, {"params": fast}]
    adam = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), weight_decay=0.02)

    g = torch.Generator().manual_seed(1)
    times: dict[str, list[float]] = {name: [] for name in ("forward", "loss", "backward", "optimiser", "step")}
    losses, spent = [], []
    for step in range(OPTIONS.steps + 2):
        inputs, boxes, present = batch(g)  # not timed
        marks, began = [time.perf_counter()], time.process_time()
        tap = Taps()
        pred = model(*inputs, tap=tap)
        marks.append(time.perf_counter())
        loss = objective(model, tap, pred, boxes, present)
        marks.append(time.perf_counter())
        adam.zero_grad(set_to_none=True)
        loss.backward()
        marks.append(time.perf_counter())
        nn.utils.clip_grad_norm_([*slow, *fast], 1.0)
        adam.step()
        marks.append(time.perf_counter())
        losses.append(loss.item())
        spent.append(time.process_time() - began)
        if step >= 2:
            for name, a, b in zip(times, marks, marks[1:]):
                times[name].append(b - a)
            times["step"].append(marks[-1] - marks[0])
    median = {name: round(statistics.median(values), 4) for name, values in times.items()}
    trained = sum(p.numel() for p in [*slow, *fast])
    print(json.dumps({
        "threads": OPTIONS.threads, "batch": OPTIONS.batch, "output_stride": OPTIONS.output_stride,
        "token_stride": CONFIG["vl"].get("token_stride", level_strides(CONFIG)[-2]), "channels_last": OPTIONS.channels_last,
        "seconds": median.pop("step"), "fastest": round(min(times["step"]), 4),
        "processor": round(statistics.median(spent[2:]), 4), "parts": median, "steps": OPTIONS.steps,
        "trained": trained, "tokens": model.vl_pos_embed.num_embeddings, "loss": [round(losses[0], 4), round(losses[-1], 4)],
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
