"""QRNet (query-modulated refinement network for visual grounding) in one file, written from its specification alone.

The backbone is the reference's Swin (`swin` in the configuration) or MobileNetV2 (`mobilenet`, mobilenet_torch.py), whose
stages have gates from `qdatt.from_stage` on and whose maps go without an output norm. Then `neck.levels` lists the stages
that the neck takes, and the encoder's visual tokens are the neck's level of `vl.token_stride` pixels and the one above.

Inference semantics only (no dropout, no drop path); autograd works. Attribute names spell the reference's state dict,
so `QRNet(config).load_state_dict(tensors)` takes a reference checkpoint as it is. Comments give shapes with
B batch, L text length, N = H*W tokens (row-major, channel last), C channels, mu text width, D fusion width.
`SPEC n` refers to the sections of the architecture specification.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mobilenet_torch import CHANNELS, STAGES, MobileNetV2, strides

Config = dict[str, Any]  # the layout of tiny.json


class Taps(dict[str, Tensor]):
    """Named intermediate tensors; `tap(name, x)` records x under the current prefix and returns it."""

    prefix = ""

    def __call__(self, name: str, x: Tensor) -> Tensor:
        self[self.prefix + name] = x
        return x


Seen = Callable[[Tensor], Any]  # takes attention weights [B,heads,S,T]


def multi_head(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | None, seen: Seen | None = None) -> Tensor:
    """Attention of q [B,S,C] on k, v [B,T,C]; `bias` is added to the scores [B,heads,S,T]. Gives [B,S,C]."""
    split = lambda x: x.unflatten(-1, (heads, -1)).transpose(1, 2)  # [B,heads,S,C/heads]
    q, k, v = split(q), split(k), split(v)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    weights = scores.softmax(-1)
    if seen is not None:
        seen(weights)
    return (weights @ v).transpose(1, 2).flatten(2)


# ---------------------------------------------------------------------------------------------- text (SPEC 1)


class BertEmbeddings(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        width = c["hidden_size"]
        self.word_embeddings = nn.Embedding(c["vocab_size"], width)
        self.position_embeddings = nn.Embedding(c["max_position_embeddings"], width)
        self.token_type_embeddings = nn.Embedding(c["type_vocab_size"], width)
        self.LayerNorm = nn.LayerNorm(width, eps=c["layer_norm_eps"])

    def forward(self, ids: Tensor) -> Tensor:  # [B,L] -> [B,L,mu]
        position = self.position_embeddings.weight[: ids.shape[1]]
        return self.LayerNorm(self.word_embeddings(ids) + self.token_type_embeddings.weight[0] + position)


class BertResidual(nn.Module):
    """Linear, add the residual, normalise."""

    def __init__(self, i: int, o: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(i, o)
        self.LayerNorm = nn.LayerNorm(o, eps=eps)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + residual)


class BertLayer(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        width, inner, eps = c["hidden_size"], c["intermediate_size"], c["layer_norm_eps"]
        self.heads = c["num_attention_heads"]
        self.attention = nn.Module()
        self.attention.self = nn.ModuleDict({n: nn.Linear(width, width) for n in ("query", "key", "value")})
        self.attention.output = BertResidual(width, width, eps)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = BertResidual(inner, width, eps)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:  # x [B,L,mu], bias [B,1,1,L]
        own = self.attention.self
        y = multi_head(own["query"](x), own["key"](x), own["value"](x), self.heads, bias)
        x = self.attention.output(y, x)
        return self.output(F.gelu(self.intermediate["dense"](x)), x)


class Bert(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(c)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(BertLayer(c) for _ in range(c["num_hidden_layers"]))})
        self.pooler = nn.ModuleDict({"dense": nn.Linear(c["hidden_size"], c["hidden_size"])})  # never used (Q11)

    def forward(self, ids: Tensor, mask: Tensor, tap: Taps) -> Tensor:  # [B,L] x2 -> [B,L,mu]
        x = tap("bert.embeddings", self.embeddings(ids))
        bias = torch.zeros_like(mask, dtype=x.dtype).masked_fill(mask == 0, torch.finfo(x.dtype).min)[:, None, None]
        for i, layer in enumerate(self.encoder["layer"]):
            x = tap(f"bert.layer{i}", layer(x, bias))
        return tap("text_features", x)


# ------------------------------------------------------------------------------------------- QD-ATT (SPEC 3)


class Generator(nn.Module):
    """Text vector -> weight matrix [in+1, out] of rank at most k; its last row is the bias (SPEC 3.1)."""

    def __init__(self, i: int, o: int, k: int, mu: int) -> None:
        super().__init__()
        self.k = k
        self.decoder = nn.Linear(mu, (i + 1) * k)
        self.V = nn.Parameter(torch.zeros(k, o))

    def forward(self, text: Tensor) -> Tensor:  # [B,mu] -> [B,in+1,out]
        return self.decoder(text).unflatten(1, (-1, self.k)) @ self.V


class DynamicLinear(nn.Module):
    def __init__(self, i: int, o: int, k: int, mu: int) -> None:
        super().__init__()
        self.decoder = Generator(i, o, k, mu)

    def forward(self, x: Tensor, text: Tensor, name: str, tap: Taps) -> Tensor:  # x [B,n,in] -> [B,n,out]
        m = self.decoder(text)
        tap(f"dyn.{name}", m.flatten(1))
        return x @ m[:, :-1] + m[:, -1:]


class QdAtt(nn.Module):
    """Channel gate, then spatial gate, both with text-generated weights; no residual (SPEC 3.2)."""

    def __init__(self, channels: int, mu: int, c: Config) -> None:
        super().__init__()
        k, hidden = c["k"], channels // c["reduction_ratio"]
        mlp = [DynamicLinear(channels, hidden, k, mu), nn.ReLU(), DynamicLinear(hidden, channels, k, mu)]
        self.ChannelGate = nn.ModuleDict({"mlp": nn.ModuleList(mlp)})
        self.SpatialGate = nn.ModuleDict({"spatial": DynamicLinear(channels, 1, k, mu)})

    def forward(self, x: Tensor, text: Tensor, tap: Taps) -> Tensor:  # x [B,N,C]
        fc1, relu, fc2 = self.ChannelGate["mlp"]
        pooled = torch.stack([x.mean(1), x.max(1).values], 1)  # [B,2,C]; max feeds back to one token only
        logits = fc2(relu(fc1(pooled, text, "channel_fc1", tap)), text, "channel_fc2", tap)  # [B,2,C]
        tap("channel_logits.0", logits[:, 0])
        tap("channel_logits.1", logits[:, 1])
        x = x * logits.sum(1, keepdim=True).sigmoid()
        gate = tap("spatial_logits", self.SpatialGate["spatial"](x, text, "spatial", tap))  # [B,N,1]
        return x * gate.sigmoid()


# ----------------------------------------------------------------------------------------- backbone (SPEC 2)


class PatchEmbed(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.patch = c["patch_size"]
        self.proj = nn.Conv2d(c["in_chans"], c["embed_dim"], self.patch, self.patch)
        self.norm = nn.LayerNorm(c["embed_dim"])

    def forward(self, image: Tensor) -> Tensor:  # [B,3,H,W] -> [B,H/4,W/4,C]
        h, w = image.shape[2:]
        image = F.pad(image, (0, -w % self.patch, 0, -h % self.patch))
        return self.norm(self.proj(image).permute(0, 2, 3, 1))


def windows(x: Tensor, side: int) -> Tensor:
    """[B,H,W,C] -> [B*windows, side*side, C]; H and W are multiples of `side`."""
    b, h, w, c = x.shape
    return x.view(b, h // side, side, w // side, side, c).transpose(2, 3).reshape(-1, side * side, c)


def unwindows(x: Tensor, side: int, h: int, w: int) -> Tensor:
    """Inverse of `windows`: [B*windows, side*side, C] -> [B,h,w,C]."""
    c = x.shape[-1]
    return x.view(-1, h // side, w // side, side, side, c).transpose(2, 3).reshape(-1, h, w, c)


def relative_index(side: int) -> Tensor:
    """[side^2, side^2]: row of the bias table for query i and key j."""
    at = torch.arange(side)
    r, c = at.repeat_interleave(side), at.repeat(side)
    difference = lambda x: x[:, None] - x[None, :] + side - 1
    return difference(r) * (2 * side - 1) + difference(c)


def shift_mask(h: int, w: int, side: int, shift: int, like: Tensor) -> Tensor:
    """[windows, side^2, side^2]: -100 between tokens of different regions of the rolled h x w map, else 0."""

    def regions(n: int) -> Tensor:  # 0 up to n-side, 1 up to n-shift, 2 beyond
        at = torch.arange(n, device=like.device)
        return (at >= n - side).long() + (at >= n - shift).long()

    labels = windows((3 * regions(h)[:, None] + regions(w)[None, :])[None, :, :, None], side).squeeze(-1)
    return torch.zeros((), dtype=like.dtype, device=like.device).where(labels[:, :, None] == labels[:, None, :], -100.0)


class WindowAttention(nn.Module):
    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int, side: int, qkv_bias: bool) -> None:
        super().__init__()
        self.heads, self.side = heads, side
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * side - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_index(side))
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, shift: int) -> Tensor:  # [B,Hp,Wp,C], multiples of the window -> the same
        h, w = x.shape[1:3]
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)  # [heads,s^2,s^2]
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
            mask = shift_mask(h, w, self.side, shift, x)  # [windows,s^2,s^2]
            bias = (bias + mask[:, None]).repeat(x.shape[0], 1, 1, 1)  # [B*windows,heads,s^2,s^2]
        q, k, v = self.qkv(windows(x, self.side)).chunk(3, -1)
        x = unwindows(self.proj(multi_head(q, k, v, self.heads, bias)), self.side, h, w)
        return x.roll((shift, shift), (1, 2)) if shift else x


class SwinBlock(nn.Module):
    def __init__(self, channels: int, heads: int, shift: int, c: Config) -> None:
        super().__init__()
        self.side, self.shift = c["window_size"], shift
        hidden = int(channels * c["mlp_ratio"])
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, self.side, c["qkv_bias"])
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(channels, hidden), "fc2": nn.Linear(hidden, channels)})

    def forward(self, x: Tensor) -> Tensor:  # [B,H,W,C]
        h, w = x.shape[1:3]
        y = F.pad(self.norm1(x), (0, 0, 0, -w % self.side, 0, -h % self.side))  # zeros join in, unmasked (Q1)
        x = x + self.attn(y, self.shift)[:, :h, :w]
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class PatchMerging(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # [B,H,W,C] -> [B,ceil(H/2),ceil(W/2),2C]
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        quarters = [x[:, r::2, c::2] for c in (0, 1) for r in (0, 1)]  # (row, column): ee, oe, eo, oo
        return self.reduction(self.norm(torch.cat(quarters, -1)))


class Stage(nn.Module):
    def __init__(self, i: int, c: Config, qd: Config) -> None:
        super().__init__()
        channels, heads, depth = c["embed_dim"] << i, c["num_heads"][i], c["depths"][i]
        shift = c["window_size"] // 2
        self.blocks = nn.ModuleList(SwinBlock(channels, heads, shift * (j % 2), c) for j in range(depth))
        self.qdatt = QdAtt(channels, c["mu_dim"], qd)
        self.downsample = PatchMerging(channels) if i + 1 < len(c["depths"]) else None

    def forward(self, x: Tensor, text: Tensor, tap: Taps) -> tuple[Tensor, Tensor]:  # attended map, next input
        for j, block in enumerate(self.blocks):
            x = block(x)
            tap(f"block{j}", x.flatten(1, 2))
        shape, tokens = x.shape, tap("pre_qdatt", x.flatten(1, 2))
        x = tap("post_qdatt", self.qdatt(tokens, text, tap)).view(shape)
        if self.downsample is None:
            return x, x
        down = self.downsample(x)
        tap("downsample", down.flatten(1, 2))
        return x, down


class Backbone(nn.Module):
    def __init__(self, c: Config, qd: Config) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(c)
        self.layers = nn.ModuleList(Stage(i, c, qd) for i in range(len(c["depths"])))
        for i in range(len(self.layers)):
            self.add_module(f"norm{i}", nn.LayerNorm(c["embed_dim"] << i))

    def forward(self, image: Tensor, text: Tensor, tap: Taps) -> list[Tensor]:  # maps [B,C_i,H_i,W_i]
        x = self.patch_embed(image)
        tap("patch_embed", x.permute(0, 3, 1, 2))
        maps = []
        for i, stage in enumerate(self.layers):
            tap.prefix = f"stage{i}."
            attended, x = stage(x, text, tap)
            tap.prefix = ""
            normed = self.get_submodule(f"norm{i}")(attended)
            maps.append(tap(f"backbone_out{i}", normed.permute(0, 3, 1, 2)))
        return maps


class MobileBackbone(MobileNetV2):
    """MobileNetV2 with QD-ATT behind its later stages; the next stage takes the gated map, as Swin's does."""

    def __init__(self, c: Config, mu: int, qd: Config) -> None:
        super().__init__(c["output_stride"])
        gated = range(qd["from_stage"], len(STAGES))
        self.layers = nn.ModuleDict({str(i): nn.ModuleDict({"qdatt": QdAtt(CHANNELS[i], mu, qd)}) for i in gated})

    def forward(self, image: Tensor, text: Tensor, tap: Taps) -> list[Tensor]:  # maps [B,C_i,H_i,W_i]
        x, maps = tap("stem", self.start(image)), []
        for i in range(len(STAGES)):
            x = self.stage(i, x)
            if str(i) in self.layers:
                tap.prefix = f"stage{i}."
                tokens = tap("pre_qdatt", x.flatten(2).transpose(1, 2))
                tokens = tap("post_qdatt", self.layers[str(i)]["qdatt"](tokens, text, tap))
                x = tokens.transpose(1, 2).view(x.shape)
                tap.prefix = ""
            maps.append(tap(f"backbone_out{i}", x))
        return maps


# --------------------------------------------------------------------------------------------- neck (SPEC 4)


def nearest(out: int, size: int, device: torch.device) -> Tensor:
    """Source index of each of `out` places on an axis of length `size`: floor(i*size/out)."""
    return torch.arange(out, device=device) * size // out


def resize(x: Tensor, h: int, w: int) -> Tensor:
    """Nearest-neighbour resize of the last two axes."""
    rows, columns = nearest(h, x.shape[-2], x.device), nearest(w, x.shape[-1], x.device)
    return x[..., rows[:, None], columns]


class Neck(nn.Module):
    def __init__(self, c: Config, mu: int, qd: Config) -> None:
        super().__init__()
        width, self.levels = c["out_channels"], c.get("levels")
        lateral = lambda i: nn.ModuleDict({"conv": nn.Conv2d(i, width, 1)})
        down = lambda: nn.ModuleDict({"qdatt": QdAtt(width, mu, qd)})
        channels = c["in_channels"] if self.levels is None else [CHANNELS[i] for i in self.levels]
        self.lateral_convs = nn.ModuleList(lateral(i) for i in channels)
        self.fpn_down = nn.ModuleList(down() for _ in channels[1:])

    def forward(self, maps: list[Tensor], text: Tensor, tap: Taps) -> list[Tensor]:
        """Maps of all stages -> one map [B,width,H,W] more than there are levels, each half the size of the one before."""
        if self.levels is not None:
            maps = [maps[i] for i in self.levels]
        lat = [tap(f"neck.lateral{i}", m["conv"](x)) for i, (m, x) in enumerate(zip(self.lateral_convs, maps))]
        for i in range(len(lat) - 1, 0, -1):
            lat[i - 1] = lat[i - 1] + resize(lat[i], *lat[i - 1].shape[-2:])
        for i, m in enumerate(self.fpn_down):
            tap.prefix = f"neck.down{i}."
            x = tap("in", lat[i])
            gated = m["qdatt"](x.flatten(2).transpose(1, 2), text, tap).transpose(1, 2).view(x.shape)
            lat[i + 1] = lat[i + 1] + tap("out", F.avg_pool2d(gated, 2))
            tap.prefix = ""
        outs = [*lat, lat[-1][..., ::2, ::2]]
        return [tap(f"neck.out{i}", x) for i, x in enumerate(outs)]


# ------------------------------------------------------------------------------------- fusion head (SPEC 5)


class SelfAttention(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * d, d))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * d))
        self.out_proj = nn.Linear(d, d)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, qk: Tensor, v: Tensor, bias: Tensor, seen: Seen) -> Tensor:  # [B,S,D] x2, bias [B,1,1,S]
        wq, wk, wv = self.in_proj_weight.chunk(3)
        bq, bk, bv = self.in_proj_bias.chunk(3)
        y = multi_head(F.linear(qk, wq, bq), F.linear(qk, wk, bk), F.linear(v, wv, bv), self.heads, bias, seen)
        return self.out_proj(y)


class EncoderLayer(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        d, inner = c["hidden_dim"], c["dim_feedforward"]
        self.self_attn = SelfAttention(d, c["nheads"])
        self.linear1, self.linear2 = nn.Linear(d, inner), nn.Linear(inner, d)
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)

    def forward(self, x: Tensor, pos: Tensor, bias: Tensor, seen: Seen) -> Tensor:  # x [B,S,D], pos [S,D]
        x = self.norm1(x + self.self_attn(x + pos, x, bias, seen))
        return self.norm2(x + self.linear2(F.relu(self.linear1(x))))


class RpnHead(nn.Module):
    """Sits in checkpoints, never used (Q11)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rpn_conv = nn.Conv2d(width, width, 3)
        self.rpn_cls = nn.Conv2d(width, 3, 1)
        self.rpn_reg = nn.Conv2d(width, 12, 1)


def level_strides(c: Config) -> list[int]:
    """Pixels a cell of the neck's maps, the one beyond its levels included."""
    sides = [4, 8, 16, 32] if "swin" in c else [strides(c["mobilenet"]["output_stride"])[i] for i in c["neck"]["levels"]]
    return [*sides, 2 * sides[-1]]


class QRNet(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        d, neck, mu = c["vl"]["hidden_dim"], c["neck"]["out_channels"], c["bert"]["hidden_size"]
        if "swin" in c:
            assert c["swin"]["mu_dim"] == c["neck"]["mu_dim"] == mu, "one text width"
            backbone = Backbone(c["swin"], c["qdatt"])
        else:
            backbone = MobileBackbone(c["mobilenet"], mu, c["qdatt"])
        sides = level_strides(c)  # of the neck's maps, the one more included
        assert all(b == 2 * a for a, b in zip(sides, sides[1:])), f"levels of {sides} pixels a cell: each must be half"
        stride = c["vl"].get("token_stride", sides[-2])
        self.token_level = sides[:-1].index(stride)
        self.visumodel = nn.ModuleDict({
            "backbone": backbone,
            "neck": Neck(c["neck"], mu, c["qdatt"]),
            "rpn_head": RpnHead(neck),
        })
        self.textmodel = nn.ModuleDict({"bert": Bert(c["bert"])})
        layers = nn.ModuleList(EncoderLayer(c["vl"]) for _ in range(c["vl"]["enc_layers"]))
        self.vl_transformer = nn.ModuleDict({"encoder": nn.ModuleDict({"layers": layers})})
        self.visu_proj, self.text_proj = nn.Linear(neck, d), nn.Linear(mu, d)
        visual = (c["imsize"] // stride) ** 2 + (c["imsize"] // (2 * stride)) ** 2
        self.vl_pos_embed = nn.Embedding(1 + c["max_query_len"] + visual, d)
        self.scale_embed = nn.Embedding(len(sides), neck)
        self.reg_token = nn.Embedding(1, d)
        head = nn.ModuleList([nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, 4)])
        self.bbox_embed = nn.ModuleDict({"layers": head})

    def forward(
        self, image: Tensor, image_mask: Tensor, token_ids: Tensor, token_mask: Tensor, tap: Taps | None = None
    ) -> Tensor:
        """image [B,3,H,W], image_mask [B,H,W] (1 = padding), token_ids and token_mask [B,L] (1 = real).

        Gives [B,4]: cx, cy, w, h relative to the canvas.
        """
        tap = Taps() if tap is None else tap
        batch = image.shape[0]
        text = self.textmodel["bert"](token_ids, token_mask, tap)  # [B,L,mu]
        query = text[:, 0]  # [B,mu] drives every dynamic linear
        text_pad = tap("text_pad_mask", token_mask == 0)
        text_src = tap("text_proj", self.text_proj(text))  # [B,L,D]

        maps = self.visumodel["backbone"](image, query, tap)
        levels = self.visumodel["neck"](maps, query, tap)
        masks = [tap(f"visu_mask{i}", resize(image_mask, *x.shape[-2:]).bool().flatten(1)) for i, x in enumerate(levels)]

        chosen = (self.token_level, self.token_level + 1)
        tokens = [levels[i].flatten(2).transpose(1, 2) + self.scale_embed.weight[i] for i in chosen]
        visual = torch.cat(tokens, 1)  # [B,N,neck], N3+N4 in the reference
        tap("visu_proj.in", visual.transpose(0, 1))
        visual = self.visu_proj(visual)  # [B,N,D]
        tap("visu_proj", visual.transpose(0, 1))

        x = torch.cat([self.reg_token.weight.expand(batch, 1, -1), text_src, visual], 1)  # [B,S,D]
        pos = self.vl_pos_embed.weight  # [S,D]
        ignore = torch.cat([text_pad.new_zeros(batch, 1), text_pad, *(masks[i] for i in chosen)], 1)  # [B,S]
        tap("vl.src", x.transpose(0, 1))
        tap("vl.pos", pos[:, None].expand(-1, batch, -1))
        tap("vl.key_padding_mask", ignore)
        bias = torch.zeros_like(ignore, dtype=x.dtype).masked_fill(ignore, float("-inf"))[:, None, None]
        for i, layer in enumerate(self.vl_transformer["encoder"]["layers"]):
            x = layer(x, pos, bias, lambda weights, i=i: tap(f"vl.layer{i}.weights", weights))
            tap(f"vl.layer{i}", x.transpose(0, 1))

        y = tap("reg_feature", x[:, 0])
        first, second, last = self.bbox_embed["layers"]
        logits = tap("bbox_logits", last(F.relu(second(F.relu(first(y))))))
        return tap("pred_box", logits.sigmoid())


# -------------------------------------------------------------------------------------------- loss (SPEC 7)


def corners(box: Tensor) -> Tensor:
    """[...,4] cxcywh -> xyxy."""
    centre, half = box[..., :2], box[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def box_losses(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """L1 and GIoU terms for [n,4] cxcywh boxes; their sum is the loss."""
    n = pred.shape[0]
    a, b = corners(pred), corners(target)
    area = lambda size: size.prod(-1)
    inter = area((torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0))
    union = area(a[:, 2:] - a[:, :2]) + area(b[:, 2:] - b[:, :2]) - inter
    hull = area(torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2]))
    giou = inter / union - (hull - union) / hull
    return (pred - target).abs().sum() / n, (1 - giou).sum() / n


def load(folder: str | Path) -> tuple[Config, QRNet]:
    """The model of a fixture folder: tiny.json and tiny.safetensors."""
    from safetensors.torch import load_file

    folder = Path(folder)
    config = json.loads((folder / "tiny.json").read_text())
    model = QRNet(config).eval()
    model.load_state_dict(load_file(folder / "tiny.safetensors"))  # strict
    return config, model
