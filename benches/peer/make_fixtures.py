"""Draws golden fixture sets at other sizes, for the parity tests: set1, set2, set3 in the folder that is named.

    python benches/peer/make_fixtures.py out/fixtures
    QRNET_FIXTURES=$PWD/out/fixtures/set1 cargo test --release -p qrnet --test parity

With `--mobilenet` after the folder: mobilenet/stride32 and mobilenet/stride16, models on MobileNetV2, as they lie in
crates/qrnet/tests/fixtures. Its widths are what they are, so that weights would take 7 MB a set: tiny_weights.json has
name, shape, scale and shift of every tensor, and `formula` says the values, which any language draws alike. Everything
else is laid out as in the other sets.

Needs PyTorch and safetensors. The numbers come from qrnet_torch.py, an independent writing of the model.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from mobilenet_torch import STAGES, Conv
from qrnet_torch import DynamicLinear, QRNet, Taps, box_losses

torch.set_num_threads(1)
HERE = Path(sys.argv[1] if len(sys.argv) > 1 else "out/fixtures")

# --- sizes -----------------------------------------------------------------------------------------------------


def sizes(imsize: int, length: int, window: int, embed: int, depths: list[int], heads: list[int], ratio: float, k: int,
          reduction: int, neck: int, bert: dict[str, int], vl: dict[str, int], seed: int) -> dict[str, Any]:
    mu = bert["hidden_size"]
    return {
        "imsize": imsize, "max_query_len": length,
        "swin": {"patch_size": 4, "in_chans": 3, "embed_dim": embed, "depths": depths, "num_heads": heads,
                 "window_size": window, "mlp_ratio": ratio, "qkv_bias": True, "patch_norm": True, "ape": False,
                 "drop_path_rate": 0.2, "mu_dim": mu},
        "qdatt": {"k": k, "reduction_ratio": reduction, "use_spatial": True, "use_channel": True, "pool": ["avg", "max"]},
        "neck": {"in_channels": [embed << i for i in range(4)], "out_channels": neck, "num_outs": 5, "mu_dim": mu},
        "bert": {**bert, "hidden_act": "gelu", "layer_norm_eps": 1e-12},
        "vl": {**vl, "activation": "relu", "normalize_before": False}, "scale_embed_rows": 5, "seed": seed,
    }


def bert(layers: int, hidden: int, heads: int, ffn: int, vocab: int, positions: int, types: int) -> dict[str, int]:
    return {"vocab_size": vocab, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
            "intermediate_size": ffn, "max_position_embeddings": positions, "type_vocab_size": types}


def vl(layers: int, d: int, heads: int, ffn: int) -> dict[str, int]:
    return {"hidden_dim": d, "nheads": heads, "dim_feedforward": ffn, "enc_layers": layers}


# Canvas (h, w), picture (h, w), words of the query; CLS, SEP and padding are put around the words.
SETS: dict[str, dict[str, Any]] = {
    "set1": {  # padding 48->50, 24->25, 12->15, 6->10; C 64x576
        "config": sizes(192, 8, 5, 24, [1, 2, 3, 1], [3, 3, 6, 12], 3.0, 7, 8, 40, bert(3, 48, 6, 96, 90, 24, 2),
                        vl(3, 56, 7, 64), 101),
        "cls": 80, "sep": 81,
        "A": [((192, 192), (192, 192), [5, 17, 33, 64]), ((192, 192), (192, 131), [71, 12])],
        "B": [((192, 192), (192, 192), [9, 23, 23, 58, 2, 89])], "C": [((64, 576), (64, 301), [71, 12])],
    },
    "set2": {  # one window on a 4x4 and a 2x2 map, floor in R; no other canvas has 4+1 tokens, so C is square too
        "config": sizes(64, 12, 6, 20, [2, 1, 1, 2], [2, 5, 8, 16], 2.5, 4, 6, 28, bert(1, 36, 4, 50, 110, 12, 2),
                        vl(5, 30, 5, 100), 202),
        "cls": 3, "sep": 7,
        "A": [((64, 64), (64, 64), [5, 17, 33, 8, 64, 91, 40]), ((64, 64), (37, 64), [71, 12, 44])],
        "B": [((64, 64), (64, 64), [9, 23, 23, 58, 2, 109, 11, 10, 65, 66])], "C": [((64, 64), (64, 45), [50])],
    },
    "set3": {  # no padding anywhere, even window that divides; C stands: 512x128
        "config": sizes(256, 5, 4, 16, [1, 2, 1, 2], [1, 2, 2, 4], 4.0, 5, 4, 24, bert(2, 24, 3, 40, 50, 5, 1),
                        vl(1, 36, 4, 48), 303),
        "cls": 48, "sep": 49,
        "A": [((256, 256), (256, 256), [5, 17]), ((256, 256), (171, 256), [31])],
        "B": [((256, 256), (256, 256), [9, 23, 23])], "C": [((512, 128), (413, 128), [31])],
    },
}

def mobile(stride: int, frozen: int, gates: int, ratio: int, neck: int, levels: list[int], head: dict[str, int],
           seed: int) -> dict[str, Any]:
    return {
        "imsize": 64, "max_query_len": 8, "mobilenet": {"output_stride": stride, "frozen_stages": frozen},
        "qdatt": {"k": 4, "reduction_ratio": ratio, "from_stage": gates},
        "neck": {"out_channels": neck, "levels": levels},
        "bert": {**bert(2, 24, 3, 40, 40, 8, 2), "hidden_act": "gelu", "layer_norm_eps": 1e-12},
        "vl": {**head, "activation": "relu", "normalize_before": False}, "seed": seed,
    }


MOBILE_SETS: dict[str, dict[str, Any]] = {
    "mobilenet/stride32": {  # tokens of stride 16 and 32, the latter a level of the neck
        "config": mobile(32, 2, 2, 16, 16, [1, 2, 3], {**vl(2, 24, 4, 40), "token_stride": 16}, 404), "cls": 30, "sep": 31,
        "A": [((64, 64), (64, 64), [5, 17, 33]), ((64, 64), (64, 41), [12, 9, 38, 7])],
    },
    "mobilenet/stride16": {  # dilated; tokens of stride 16 and every second of theirs; nothing frozen
        "config": mobile(16, 0, 1, 8, 12, [1, 3], vl(1, 20, 4, 32), 505), "cls": 30, "sep": 31,
        "A": [((64, 64), (45, 64), [21, 2, 2, 19, 6])],
    },
}
TARGET = torch.tensor([[0.42, 0.37, 0.31, 0.28], [0.61, 0.55, 0.24, 0.47]])

# --- inputs ----------------------------------------------------------------------------------------------------


def picture(canvas: tuple[int, int], size: tuple[int, int], g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blobs and noise in normalised space, centred in a zero canvas, and the padding mask."""
    coarse = torch.randn(1, 3, 5, 6, generator=g)
    content = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear", align_corners=True)[0]
    content = content + 0.4 * torch.randn(3, *size, generator=g)
    top, left = (canvas[0] - size[0]) // 2, (canvas[1] - size[1]) // 2
    image, mask = torch.zeros(3, *canvas), torch.ones(*canvas, dtype=torch.int32)
    image[:, top : top + size[0], left : left + size[1]] = content
    mask[top : top + size[0], left : left + size[1]] = 0
    return image, mask


def inputs(spec: dict[str, Any], case: str, pictures: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    length = spec["config"]["max_query_len"]
    rows = [[spec["cls"], *words, spec["sep"]] for _, _, words in spec[case]]
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    return {"image": torch.stack([p[0] for p in pictures]), "image_mask": torch.stack([p[1] for p in pictures]),
            "token_ids": ids, "token_mask": mask}


# --- weights ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def draw(model: QRNet, g: torch.Generator) -> None:
    """Scales of the original set: linears 1/sqrt(fan in) (qkv and box head 1.3 times), biases 0.1, embeddings 0.7."""
    for name, p in model.named_parameters():
        p.copy_(torch.randn(p.shape, generator=g))
        fan = p[0].numel() if p.dim() > 1 else 1
        if name.endswith("decoder.V"):
            p.mul_(0.1)  # calibrated below
        elif "relative_position_bias_table" in name:
            p.mul_(0.5)
        elif "embed" in name and "bbox_embed" not in name and p.dim() == 2 or name == "reg_token.weight":
            p.mul_(0.7)
        elif p.dim() == 1:
            p.mul_(0.1)
            if name.endswith("weight"):
                p.add_(1.0)
        else:
            wide = any(part in name for part in ("qkv", "in_proj", "attention.self", "bbox_embed"))
            p.mul_((1.3 if wide else 1.0) * fan**-0.5)


@torch.no_grad()
def calibrate(model: QRNet, batch: dict[str, Tensor]) -> None:
    """Scales every V so that the gates' logits on `batch` stay off saturation."""
    spread = {"channel_fc1": 0.8, "channel_fc2": 0.7, "spatial": 0.7}
    plain = DynamicLinear.forward

    def scaled(self: DynamicLinear, x: Tensor, text: Tensor, name: str, tap: Taps) -> Tensor:
        self.decoder.V.mul_(spread[name] / plain(self, x, text, name, Taps()).square().mean().sqrt())
        return plain(self, x, text, name, tap)

    DynamicLinear.forward = scaled  # type: ignore[method-assign]
    model(**batch)
    DynamicLinear.forward = plain  # type: ignore[method-assign]


def formula(name: str, shape: list[int], scale: float, shift: float) -> Tensor:
    """shift + scale * u in f32, u in -1..1: 24 bits of SplitMix64 over the name's FNV-1a, element by element."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(state) + (np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    u = ((z >> np.uint64(40)).astype(np.float64) / 2**23 - 1).astype(np.float32)  # exact
    return torch.from_numpy(np.float32(shift) + np.float32(scale) * u).reshape(shape)


@torch.no_grad()
def draw_by_formula(model: QRNet, batch: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Weights that `formula` says, gates and convolutions scaled so that what they give on `batch` is lively."""
    g = torch.Generator().manual_seed(0)
    draw(model, g)  # for its scales
    drawn = {}
    for name, p in model.named_parameters():
        shift = 1.0 if p.dim() == 1 and name.endswith(("LayerNorm.weight", "norm1.weight", "norm2.weight")) else 0.0
        spread = 0.3 if name.startswith("visumodel.backbone.") and p.dim() == 1 else (p - shift).square().mean().sqrt()
        drawn[name] = {"shape": list(p.shape), "scale": float(np.float32(spread * 3**0.5)), "shift": shift}
        p.copy_(formula(name, **drawn[name]))
    before = {name: p.clone() for name, p in model.named_parameters()}
    plain = Conv.forward

    def scaled(self: Conv, x: Tensor, padded: bool = False) -> Tensor:
        y = plain(self, x, padded) - self.bias[:, None, None]
        # A block adds little to what it is added to; what ReLU6 takes reaches both of its ends.
        wanted = 0.6 if self.weight.shape[-1] == 1 and self.weight.shape[0] < self.weight.shape[1] else 2.0
        self.weight.mul_(wanted / y.std())
        return plain(self, x, padded)

    Conv.forward = scaled  # type: ignore[method-assign]
    model(**batch)
    Conv.forward = plain  # type: ignore[method-assign]
    calibrate(model, batch)
    for name, p in model.named_parameters():
        drawn[name]["scale"] = float(np.float32(drawn[name]["scale"] * (p.norm() / before[name].norm()).item()))
        p.copy_(formula(name, **drawn[name]))
    for how in drawn.values():
        how["scale"] = float(f"{how['scale']:.9g}")  # f32 needs no more digits
    return {name: how for name, how in drawn.items() if not name.startswith(UNUSED)}


# --- files -----------------------------------------------------------------------------------------------------

FULL_GRADIENTS = [
    "bbox_embed.layers.0.weight", "reg_token.weight", "scale_embed.weight", "text_proj.bias", "visu_proj.bias",
    "textmodel.bert.embeddings.LayerNorm.weight", "textmodel.bert.embeddings.token_type_embeddings.weight",
    "textmodel.bert.embeddings.word_embeddings.weight", "textmodel.bert.encoder.layer.0.attention.self.query.weight",
    "visumodel.backbone.patch_embed.proj.weight", "visumodel.backbone.norm0.weight", "visumodel.backbone.norm3.bias",
    "visumodel.backbone.layers.1.blocks.0.attn.qkv.bias",
    "visumodel.backbone.layers.0.blocks.0.attn.relative_position_bias_table",
    "visumodel.backbone.layers.0.qdatt.ChannelGate.mlp.0.decoder.V",
    "visumodel.backbone.layers.0.qdatt.ChannelGate.mlp.2.decoder.V",
    "visumodel.backbone.layers.0.qdatt.SpatialGate.spatial.decoder.V",
    "visumodel.backbone.layers.2.qdatt.SpatialGate.spatial.decoder.decoder.bias",
    "visumodel.backbone.layers.1.downsample.norm.weight", "visumodel.neck.lateral_convs.0.conv.weight",
    "visumodel.neck.fpn_down.0.qdatt.SpatialGate.spatial.decoder.V",
    "visumodel.neck.fpn_down.2.qdatt.ChannelGate.mlp.2.decoder.V", "vl_pos_embed.weight",
    "vl_transformer.encoder.layers.0.self_attn.in_proj_bias", "vl_transformer.encoder.layers.0.linear2.bias",
]
MOBILE_GRADIENTS = [
    "bbox_embed.layers.2.weight", "reg_token.weight", "scale_embed.weight", "text_proj.bias", "visu_proj.bias",
    "textmodel.bert.embeddings.LayerNorm.weight", "visumodel.backbone.stem.weight", "visumodel.backbone.stem.bias",
    "visumodel.backbone.blocks.0.depthwise.weight", "visumodel.backbone.blocks.3.project.bias",
    "visumodel.backbone.blocks.6.expand.bias", "visumodel.backbone.blocks.13.depthwise.bias",
    "visumodel.backbone.blocks.15.depthwise.bias",
    "visumodel.backbone.blocks.16.project.bias", "visumodel.backbone.layers.1.qdatt.ChannelGate.mlp.0.decoder.V",
    "visumodel.backbone.layers.2.qdatt.ChannelGate.mlp.2.decoder.V",
    "visumodel.backbone.layers.3.qdatt.SpatialGate.spatial.decoder.V", "visumodel.neck.lateral_convs.0.conv.bias",
    "visumodel.neck.lateral_convs.1.conv.bias", "visumodel.neck.fpn_down.0.qdatt.SpatialGate.spatial.decoder.V",
]
UNUSED = ("visumodel.rpn_head.", "textmodel.bert.pooler.")  # in checkpoints, read by nobody


def golden(name: str, case: str) -> bool:
    """Whether a tap goes into tiny_io, as in the original (inner `dyn` of stages 0 and 3; B a subset)."""
    if name.endswith(".weights"):
        return False
    if name.startswith("stage") and "block" in name:
        return case == "A" and name.endswith("block0")
    if ".dyn." in name:
        return case == "A" and name.startswith(("stage0", "stage3"))
    return case != "B" or any(part in name for part in
                              ("logits", "text_features", "neck.out3", "neck.out4", "visu_proj", "pred_box", "vl.layer"))


def storable(x: Tensor) -> Tensor:
    return (x.to(torch.uint8) if x.dtype == torch.bool else x).detach().clone().contiguous()


def mobile_golden(name: str) -> bool:
    """The same for MobileNetV2: small enough for a repository, so nothing that is there twice or that a sum hides."""
    twice = name.endswith(("qdatt", ".in", ".weights")) or name.startswith(
        ("stem", "neck.lateral", "vl.pos", "vl.src", "vl.layer0", "visu_mask0", "backbone_out0"))
    return not twice and name != "bert.layer1" and not (".dyn." in name and not name.startswith("stage1"))


def freeze(model: QRNet, config: dict[str, Any]) -> None:
    """The stem and the first `frozen_stages` stages get no gradient."""
    stages = config.get("mobilenet", {}).get("frozen_stages", 0)
    for part in [model.visumodel["backbone"].stem] * (stages > 0) + [
        model.visumodel["backbone"].blocks[i] for stage in STAGES[:stages] for i in stage
    ]:
        part.requires_grad_(False)


def make(name: str) -> None:
    is_mobile = name in MOBILE_SETS
    spec, folder = (MOBILE_SETS if is_mobile else SETS)[name], HERE / name
    folder.mkdir(parents=True, exist_ok=True)
    config = spec["config"]
    g = torch.Generator().manual_seed(config["seed"])
    pictures = {case: [picture(canvas, size, g) for canvas, size, _ in spec[case]] for case in "AC" if case in spec}
    if "B" in spec:
        pictures["B"] = pictures["A"][:1]  # the same picture under another query
    given = {case: inputs(spec, case, pictures[case]) for case in sorted(pictures)}
    model = QRNet(config).eval()
    if is_mobile:
        how = draw_by_formula(model, given["A"])
        (folder / "tiny_weights.json").write_text(
            "{\n" + ",\n".join(f"{json.dumps(n)}: {json.dumps(h, separators=(',', ':'))}" for n, h in how.items()) + "\n}\n")
        freeze(model, config)
    else:
        draw(model, g)
        calibrate(model, {key: torch.cat([given["A"][key], given["B"][key]]) for key in given["A"]})

    if is_mobile:
        for batch in given.values():
            batch["image_mask"] = batch["image_mask"].bool()
    io: dict[str, Tensor] = {}
    for case, batch in given.items():
        tap = Taps()
        with torch.no_grad():
            box = model(**batch, tap=tap)
        io |= {f"{case}.in.{key}": value for key, value in batch.items()}
        io |= {f"{case}.{key}": value for key, value in tap.items()
               if (mobile_golden(key) if is_mobile else golden(key, case))}
        print(name, case, [[round(v, 4) for v in row] for row in box.tolist()])
        for key, value in tap.items():
            if case == "A" and (key.endswith(("spatial_logits", "channel_logits.1")) or key.startswith("backbone_out")):
                print("  ", key, "std %.2f max %.2f" % (value.std(), value.abs().max()))

    def gradients(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor | None]]:
        model.zero_grad(set_to_none=True)
        model.to(dtype)
        batch = given["A"]
        box = model(batch["image"].to(dtype), batch["image_mask"], batch["token_ids"], batch["token_mask"])
        l1, giou = box_losses(box, target.to(dtype))
        (l1 + giou).backward()
        return box, l1, giou, {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}

    norms = lambda grads: {n: None if v is None else v.double().norm().item() for n, v in grads.items()}
    target = TARGET[: len(given["A"]["image"])]
    box, l1, giou, grads = gradients(torch.float32)
    state = {k: storable(v) for k, v in model.state_dict().items()}
    if is_mobile:
        full = {f"grad.{n}": storable(grads[n]) for n in MOBILE_GRADIENTS if grads.get(n) is not None}
    else:
        full = {f"grad.{n}": storable(grads[n]) for n in FULL_GRADIENTS}
    one = lambda x: x.detach().reshape(1).clone()
    values = {"loss": one(l1 + giou), "loss_bbox": one(l1), "loss_giou": one(giou), "target": target.clone(),
              "pred_box": storable(box)}
    exact = gradients(torch.float64)

    (folder / "tiny.json").write_text(json.dumps(config, indent=1))
    if not is_mobile:
        save_file(state, folder / "tiny.safetensors")
        # Ours only: to judge rounding.
        (folder / "grad_norms_f64.json").write_text(json.dumps(norms(exact[3]), indent=0))
    save_file({k: storable(v) for k, v in io.items()}, folder / "tiny_io.safetensors")
    save_file(full | values, folder / "tiny_grads.safetensors")
    found = norms(grads)
    if is_mobile:
        found = {n: v and float(f"{v:.7g}") for n, v in found.items() if not n.startswith(UNUSED)}
    report = {k: values[k].item() for k in ("loss", "loss_bbox", "loss_giou")} | {"grad_norms": found}
    (folder / "tiny_grads.json").write_text(json.dumps(report, indent=0))
    off = [(abs(a - b) / max(b, 1e-12), n, b) for (n, a), b in zip(norms(grads).items(), norms(exact[3]).values())
           if a is not None and b is not None and b > 1e-6]
    small = [(n, b) for n, b in norms(exact[3]).items() if b is not None and b <= 1e-6]
    print("  loss", (l1 + giou).item(), "f32 against f64 norms, worst:", sorted(off, reverse=True)[:4])
    print("  smallest", sorted((b, n) for _, n, b in off)[:3], "zeros", small)


if __name__ == "__main__":
    for set_name in MOBILE_SETS if "--mobilenet" in sys.argv[2:] else SETS:
        make(set_name)
