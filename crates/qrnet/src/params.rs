//! The table of a model's tensors: name, shape, kind and initial distribution, derived from its configuration.
//!
//! Names are the reference's own, so that its checkpoints load by name and ours load in PyTorch. The table is the
//! one place that knows them outside the blocks that read them; a test builds a model from exactly this table.

use crate::config::{Backbone, Config, MobileNetConfig};
use crate::mobilenet::{STEM_CHANNELS, blocks, frozen_tensors};
use blocks::swin::SwinConfig;

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Trained, and read in every forward pass of the part it belongs to.
    Parameter,
    /// Read like a parameter, never trained: a frozen text tower.
    Frozen,
    /// A constant in the reference's state dict that follows from the sizes (`relative_position_index`).
    Buffer,
    /// Present in the reference's checkpoints, read by nobody (SPEC quirks Q11 and Q15).
    Unused,
}

impl Kind {
    /// Whether a forward pass reads the tensor, so that a model cannot do without it.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Parameter | Self::Frozen)
    }
}

/// Which part of the work reads a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Once per query: text tower, `text_proj`, weight generators.
    Query,
    /// On every frame.
    Frame,
}

/// How training from scratch draws a tensor (SPEC section 7).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// Normal with this standard deviation, mean 0.
    Normal(f64),
    /// Normal with this standard deviation, cut at ±2 (PyTorch's and timm's absolute bounds).
    TruncatedNormal(f64),
    /// Uniform in ±bound.
    Uniform(f64),
}

/// One tensor of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamSpec {
    /// Name in the reference's state dict.
    pub name: String,
    /// Shape; `[out, in]` for Linear weights.
    pub shape: Vec<usize>,
    /// What it is for.
    pub kind: Kind,
    /// Who reads it.
    pub part: Part,
    /// Its distribution before training.
    pub init: Init,
}

/// All tensors of the reference's state dict for these sizes, plus the presence head if there is one.
pub fn table(config: &Config) -> Vec<ParamSpec> {
    let mut t = Table::default();
    t.backbone(config);
    t.neck(config);
    t.bert(config);
    t.fusion(config);
    t.specs
}

/// The tensors that a forward pass reads: what a model file holds.
pub fn parameters(config: &Config) -> impl Iterator<Item = ParamSpec> {
    table(config).into_iter().filter(|spec| spec.kind.is_read())
}

/// The tensors that training changes: all parameters but those of a frozen text tower.
pub fn trainable(config: &Config) -> impl Iterator<Item = ParamSpec> {
    table(config).into_iter().filter(|spec| spec.kind == Kind::Parameter)
}

/// Bounds of PyTorch's default for `nn.Linear` and `nn.Conv2d`.
fn fan_in_bound(fan_in: usize) -> Init {
    Init::Uniform(1.0 / (fan_in as f64).sqrt())
}

fn xavier(fan_in: usize, fan_out: usize) -> Init {
    Init::Uniform((6.0 / (fan_in + fan_out) as f64).sqrt())
}

/// How the Linears of one part start.
#[derive(Clone, Copy)]
enum LinearInit {
    /// Truncated normal 0.02, bias 0: the backbone, its generators included.
    Swin,
    /// Normal 0.02, bias 0: BERT's `initializer_range`.
    Bert,
    /// Uniform in ±1/sqrt(fan in), both: PyTorch's default.
    Default,
    /// Xavier uniform weight, default bias: the fusion encoder.
    Xavier,
}

const INIT_RANGE: f64 = 0.02;

#[derive(Default)]
struct Table {
    specs: Vec<ParamSpec>,
}

impl Table {
    fn add(&mut self, part: Part, name: String, shape: &[usize], init: Init) {
        self.specs.push(ParamSpec { name, shape: shape.to_vec(), kind: Kind::Parameter, part, init });
    }

    fn unused(&mut self, name: &str, shape: &[usize]) {
        let (name, shape) = (name.to_owned(), shape.to_vec());
        self.specs.push(ParamSpec { name, shape, kind: Kind::Unused, part: Part::Query, init: Init::Zeros });
    }

    fn norm(&mut self, part: Part, name: &str, width: usize) {
        self.add(part, format!("{name}.weight"), &[width], Init::Ones);
        self.add(part, format!("{name}.bias"), &[width], Init::Zeros);
    }

    fn linear(&mut self, part: Part, name: &str, (input, output): (usize, usize), init: LinearInit) {
        let (weight, bias) = match init {
            LinearInit::Swin => (Init::TruncatedNormal(INIT_RANGE), Init::Zeros),
            LinearInit::Bert => (Init::Normal(INIT_RANGE), Init::Zeros),
            LinearInit::Default => (fan_in_bound(input), fan_in_bound(input)),
            LinearInit::Xavier => (xavier(input, output), fan_in_bound(input)),
        };
        self.add(part, format!("{name}.weight"), &[output, input], weight);
        self.add(part, format!("{name}.bias"), &[output], bias);
    }

    fn backbone(&mut self, config: &Config) {
        match config.backbone() {
            Backbone::Swin(swin) => self.swin(config, swin),
            Backbone::MobileNet(mobilenet) => self.mobilenet(config, mobilenet),
        }
    }

    fn mobilenet(&mut self, config: &Config, mobilenet: &MobileNetConfig) {
        let root = "visumodel.backbone";
        // He et al. 2015: what a ReLU halves.
        let kaiming = |fan_in: usize| Init::Normal((2.0 / fan_in as f64).sqrt());
        let first = self.specs.len();
        let mut convolution = |name: String, shape: &[usize]| {
            let fan_in = shape[1..].iter().product();
            self.add(Part::Frame, format!("{name}.weight"), shape, kaiming(fan_in));
            self.add(Part::Frame, format!("{name}.bias"), &shape[..1], Init::Zeros);
        };
        convolution(format!("{root}.stem"), &[STEM_CHANNELS, 3, 3, 3]);
        for (number, block) in blocks(mobilenet.output_stride).into_iter().enumerate() {
            let name = format!("{root}.blocks.{number}");
            if block.widens() {
                convolution(format!("{name}.expand"), &[block.hidden, block.input, 1, 1]);
            }
            convolution(format!("{name}.depthwise"), &[block.hidden, 1, 3, 3]);
            convolution(format!("{name}.project"), &[block.output, block.hidden, 1, 1]);
        }
        let frozen = frozen_tensors(mobilenet);
        for spec in &mut self.specs[first..] {
            if frozen.iter().any(|prefix| spec.name.starts_with(prefix.as_str())) {
                spec.kind = Kind::Frozen;
            }
        }
        for stage in config.gated_stages() {
            let channels = config.stage_channels(stage);
            self.qdatt(config, &format!("{root}.layers.{stage}.qdatt"), channels, LinearInit::Swin);
        }
    }

    fn swin(&mut self, config: &Config, swin: &SwinConfig) {
        let root = "visumodel.backbone";
        let patch_bound = fan_in_bound(3 * swin.patch_size * swin.patch_size);
        let patch = [swin.embed_dim, 3, swin.patch_size, swin.patch_size];
        self.add(Part::Frame, format!("{root}.patch_embed.proj.weight"), &patch, patch_bound);
        self.add(Part::Frame, format!("{root}.patch_embed.proj.bias"), &[swin.embed_dim], patch_bound);
        self.norm(Part::Frame, &format!("{root}.patch_embed.norm"), swin.embed_dim);
        let window = swin.window_size;
        for stage in 0..config.stages() {
            let channels = config.stage_channels(stage);
            let hidden = swin.mlp_hidden(stage);
            for block in 0..swin.depths[stage] {
                let b = format!("{root}.layers.{stage}.blocks.{block}");
                self.norm(Part::Frame, &format!("{b}.norm1"), channels);
                let table = [(2 * window - 1).pow(2), swin.num_heads[stage]];
                let bias_table = format!("{b}.attn.relative_position_bias_table");
                self.add(Part::Frame, bias_table, &table, Init::TruncatedNormal(INIT_RANGE));
                self.specs.push(ParamSpec {
                    name: format!("{b}.attn.relative_position_index"),
                    shape: vec![window * window; 2],
                    kind: Kind::Buffer,
                    part: Part::Frame,
                    init: Init::Zeros,
                });
                self.linear(Part::Frame, &format!("{b}.attn.qkv"), (channels, 3 * channels), LinearInit::Swin);
                self.linear(Part::Frame, &format!("{b}.attn.proj"), (channels, channels), LinearInit::Swin);
                self.norm(Part::Frame, &format!("{b}.norm2"), channels);
                self.linear(Part::Frame, &format!("{b}.mlp.fc1"), (channels, hidden), LinearInit::Swin);
                self.linear(Part::Frame, &format!("{b}.mlp.fc2"), (hidden, channels), LinearInit::Swin);
            }
            if config.gated_stages().contains(&stage) {
                self.qdatt(config, &format!("{root}.layers.{stage}.qdatt"), channels, LinearInit::Swin);
            }
            if stage + 1 < config.stages() {
                let reduction = format!("{root}.layers.{stage}.downsample.reduction.weight");
                self.add(Part::Frame, reduction, &[2 * channels, 4 * channels], Init::TruncatedNormal(INIT_RANGE));
                self.norm(Part::Frame, &format!("{root}.layers.{stage}.downsample.norm"), 4 * channels);
            }
        }
        for stage in 0..config.stages() {
            self.norm(Part::Frame, &format!("{root}.norm{stage}"), config.stage_channels(stage));
        }
    }

    fn qdatt(&mut self, config: &Config, name: &str, channels: usize, init: LinearInit) {
        let (k, text, hidden) = (config.qdatt.k, config.bert.hidden_size, config.gate_width(channels));
        for (dynamic, input, output) in [
            ("ChannelGate.mlp.0", channels, hidden),
            ("ChannelGate.mlp.2", hidden, channels),
            ("SpatialGate.spatial", channels, 1),
        ] {
            let prefix = format!("{name}.{dynamic}.decoder");
            self.add(Part::Query, format!("{prefix}.V"), &[k, output], Init::Zeros);
            self.linear(Part::Query, &format!("{prefix}.decoder"), (text, (input + 1) * k), init);
        }
    }

    fn neck(&mut self, config: &Config) {
        let out = config.neck.out_channels;
        let stages = config.neck_stages();
        for (place, stage) in stages.iter().enumerate() {
            let name = format!("visumodel.neck.lateral_convs.{place}.conv");
            let channels = config.stage_channels(*stage);
            self.add(Part::Frame, format!("{name}.weight"), &[out, channels, 1, 1], xavier(channels, out));
            self.add(Part::Frame, format!("{name}.bias"), &[out], Init::Zeros);
        }
        for level in 0..stages.len() - 1 {
            self.qdatt(config, &format!("visumodel.neck.fpn_down.{level}.qdatt"), out, LinearInit::Default);
        }
        self.unused("visumodel.rpn_head.rpn_conv.weight", &[out, out, 3, 3]);
        self.unused("visumodel.rpn_head.rpn_conv.bias", &[out]);
        self.unused("visumodel.rpn_head.rpn_cls.weight", &[3, out, 1, 1]);
        self.unused("visumodel.rpn_head.rpn_cls.bias", &[3]);
        self.unused("visumodel.rpn_head.rpn_reg.weight", &[12, out, 1, 1]);
        self.unused("visumodel.rpn_head.rpn_reg.bias", &[12]);
    }

    fn bert(&mut self, config: &Config) {
        let bert = &config.bert;
        let (width, root, first) = (bert.hidden_size, "textmodel.bert", self.specs.len());
        self.unused("textmodel.bert.embeddings.position_ids", &[1, bert.max_position_embeddings]);
        for (name, rows) in [
            ("word_embeddings", bert.vocab_size),
            ("position_embeddings", bert.max_position_embeddings),
            ("token_type_embeddings", bert.type_vocab_size),
        ] {
            let name = format!("{root}.embeddings.{name}.weight");
            self.add(Part::Query, name, &[rows, width], Init::Normal(INIT_RANGE));
        }
        self.norm(Part::Query, &format!("{root}.embeddings.LayerNorm"), width);
        for layer in 0..bert.num_hidden_layers {
            let l = format!("{root}.encoder.layer.{layer}");
            for name in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
            {
                self.linear(Part::Query, &format!("{l}.{name}"), (width, width), LinearInit::Bert);
            }
            self.norm(Part::Query, &format!("{l}.attention.output.LayerNorm"), width);
            self.linear(
                Part::Query,
                &format!("{l}.intermediate.dense"),
                (width, bert.intermediate_size),
                LinearInit::Bert,
            );
            self.linear(Part::Query, &format!("{l}.output.dense"), (bert.intermediate_size, width), LinearInit::Bert);
            self.norm(Part::Query, &format!("{l}.output.LayerNorm"), width);
        }
        if bert.frozen_words {
            let words = format!("{root}.embeddings.word_embeddings.weight");
            for spec in self.specs[first..].iter_mut().filter(|spec| spec.name == words) {
                spec.kind = Kind::Frozen;
            }
        }
        if bert.frozen {
            for spec in self.specs[first..].iter_mut().filter(|spec| spec.kind == Kind::Parameter) {
                spec.kind = Kind::Frozen;
            }
        }
        self.unused("textmodel.bert.pooler.dense.weight", &[width, width]);
        self.unused("textmodel.bert.pooler.dense.bias", &[width]);
    }

    fn fusion(&mut self, config: &Config) {
        let (d, feed_forward) = (config.vl.hidden_dim, config.vl.dim_feedforward);
        let levels = config.neck_levels().len();
        let unit = Init::Normal(1.0);
        self.add(Part::Frame, "vl_pos_embed.weight".into(), &[config.position_rows(), d], unit);
        self.add(Part::Frame, "scale_embed.weight".into(), &[levels, config.neck.out_channels], unit);
        self.add(Part::Frame, "reg_token.weight".into(), &[1, d], unit);
        self.linear(Part::Frame, "visu_proj", (config.neck.out_channels, d), LinearInit::Default);
        self.linear(Part::Query, "text_proj", (config.bert.hidden_size, d), LinearInit::Default);
        for layer in 0..config.vl.enc_layers {
            let l = format!("vl_transformer.encoder.layers.{layer}");
            self.add(Part::Frame, format!("{l}.self_attn.in_proj_weight"), &[3 * d, d], xavier(d, 3 * d));
            self.add(Part::Frame, format!("{l}.self_attn.in_proj_bias"), &[3 * d], Init::Zeros);
            self.add(Part::Frame, format!("{l}.self_attn.out_proj.weight"), &[d, d], xavier(d, d));
            self.add(Part::Frame, format!("{l}.self_attn.out_proj.bias"), &[d], Init::Zeros);
            self.linear(Part::Frame, &format!("{l}.linear1"), (d, feed_forward), LinearInit::Xavier);
            self.linear(Part::Frame, &format!("{l}.linear2"), (feed_forward, d), LinearInit::Xavier);
            self.norm(Part::Frame, &format!("{l}.norm1"), d);
            self.norm(Part::Frame, &format!("{l}.norm2"), d);
        }
        for (layer, output) in [d, d, 4].into_iter().enumerate() {
            self.linear(Part::Frame, &format!("bbox_embed.layers.{layer}"), (d, output), LinearInit::Default);
        }
        if config.presence {
            self.linear(Part::Frame, "presence_embed", (d, 1), LinearInit::Default);
        }
    }
}
