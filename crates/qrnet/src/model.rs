//! QRNet, wired: the once-per-query half, the per-frame half, and the plain forward over both.

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;
use tracing::trace_span;

use crate::config::{self, Config};
use crate::cpu::Found;
use crate::fusion::compiled::{CompiledText, HeadPlan};
use crate::fusion::{Head, Output, TextTokens};
use crate::neck::Neck;
use crate::plan::CanvasPlan;
use crate::qdatt::{Gates, Generators};
use crate::{mobilenet, swin};
use blocks::layers::Linear;
use blocks::pass::Pass;
use blocks::text::tower::Tower;

/// The half that reads text: text tower, projection into the fusion head, weight generators.
pub struct QueryModel {
    tower: Tower,
    projection: Linear,
    generators: Generators,
}

/// What the picture's half needs to know of a batch of queries.
pub struct QueryTensors {
    /// Generated gates, backbone stages first, then neck levels.
    pub gates: Vec<Gates>,
    /// Projected text tokens, `[Q, L, d]`.
    pub tokens: Tensor,
    /// `[Q, L]` u8, 1 = padding.
    pub ignore: Tensor,
}

impl QueryModel {
    /// Reads the weights from the root of a checkpoint.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            tower: Tower::new(&config.bert, &vb.pp("textmodel.bert"))?,
            projection: Linear::new(&vb.pp("text_proj"), config.bert.hidden_size, config.vl.hidden_dim)?,
            generators: Generators::new(config, vb)?,
        })
    }

    /// Text tokens and generated gates: [`QueryModel::features`], then [`QueryModel::encode_features`].
    ///
    /// # Shapes
    /// `ids [Q, L]` u32, `ignore [Q, L]` u8, 1 = padding.
    ///
    /// # Errors
    /// An id outside the vocabulary, or a device error.
    pub fn encode(&self, ids: &Tensor, ignore: &Tensor, pass: &mut Pass) -> Result<QueryTensors> {
        let features = self.features(ids, ignore, pass)?;
        self.encode_features(&features, ignore, pass)
    }

    /// What the text tower makes of the pieces.
    ///
    /// Of a frozen tower (`bert.frozen`) the features of a phrase are the same in every pass and lead to no gradient, so
    /// that training may keep them.
    ///
    /// # Shapes
    /// `ids [Q, L]` u32, `ignore [Q, L]` u8 (1 = padding) → `[Q, L, D]`.
    ///
    /// # Errors
    /// An id outside the vocabulary, or a device error.
    pub fn features(&self, ids: &Tensor, ignore: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        self.tower.forward(ids, ignore, pass)
    }

    /// What follows from features: projected tokens and gates. This half learns whatever the tower is.
    ///
    /// # Shapes
    /// `features [Q, L, D]` as from [`QueryModel::features`], `ignore [Q, L]` u8, 1 = padding.
    ///
    /// # Errors
    /// Features of another width, or a device error.
    pub fn encode_features(&self, features: &Tensor, ignore: &Tensor, pass: &mut Pass) -> Result<QueryTensors> {
        pass.tap(|| "text_features".into(), features);
        pass.tap(|| "text_pad_mask".into(), ignore);
        let tokens = self.projection.forward(features)?;
        pass.tap(|| "text_proj".into(), &tokens);
        let text_cls = features.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
        let gates = self.generators.generate(&text_cls, pass)?;
        Ok(QueryTensors { gates, tokens, ignore: ignore.clone() })
    }
}

/// The half that reads pictures: backbone, neck, fusion head. Holds no text weight and no generator.
pub struct FrameModel {
    backbone: Backbone,
    neck: Neck,
    pub(crate) head: Head,
    /// Backbone stages with gates at their end.
    gated: std::ops::Range<usize>,
    /// Where the levels that the head reads stand among those of the neck.
    token_place: usize,
    /// Of backbone and neck.
    dtype: DType,
}

/// The backbone without the generators of its gates.
enum Backbone {
    Swin(swin::Backbone),
    MobileNet(mobilenet::Backbone),
}

impl Backbone {
    fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        Ok(match config.backbone() {
            config::Backbone::Swin(_) => Self::Swin(swin::Backbone::new(config, vb)?),
            config::Backbone::MobileNet(own) => Self::MobileNet(mobilenet::Backbone::new(config, own, vb)?),
        })
    }

    /// The maps of all stages; `gates` by stage, and which picture every query asks.
    fn forward(
        &self,
        image: &Tensor,
        plan: &CanvasPlan,
        (gates, pictures): (&[Option<&Gates>], Option<&Tensor>),
        pass: &mut Pass,
    ) -> Result<Vec<Tensor>> {
        match (self, &plan.windows) {
            (Self::MobileNet(network), _) => network.forward(image, plan.grids(), gates, pictures, pass),
            (Self::Swin(swin), Some(windows)) => {
                let asked = pictures.map(|pictures| image.index_select(pictures, 0)).transpose()?;
                swin.forward(asked.as_ref().unwrap_or(image), windows, gates, pass)
            }
            (Self::Swin(_), None) => candle_core::bail!("the canvas was laid out for another backbone"),
        }
    }
}

impl FrameModel {
    /// Reads the weights from the root of a checkpoint. Backbone and neck compute in the builder's element type; the head,
    /// which answers with fractions of a pixel, in f32 where that is a half one.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let dtype = vb.dtype();
        let exact = match dtype {
            DType::F16 | DType::BF16 => vb.to_dtype(DType::F32),
            _ => vb.clone(),
        };
        Ok(Self {
            backbone: Backbone::new(config, &vb.pp("visumodel.backbone"))?,
            neck: Neck::new(config, &vb.pp("visumodel.neck"))?,
            head: Head::new(config, &exact)?,
            dtype,
            gated: config.gated_stages(),
            token_place: config.token_place(),
        })
    }

    /// Precomputes what follows from weights that no longer change. Not for training.
    ///
    /// # Errors
    /// A device error.
    pub fn freeze(&mut self) -> Result<()> {
        match &mut self.backbone {
            Backbone::Swin(swin) => swin.freeze(),
            Backbone::MobileNet(_) => Ok(()),
        }
    }

    /// The two levels of the neck that the head reads, `[B, N_i, C]` each; `pictures [B]` u32 as in
    /// [`FrameModel::forward`].
    pub(crate) fn levels(
        &self,
        image: &Tensor,
        gates: &[Gates],
        pictures: Option<&Tensor>,
        plan: &CanvasPlan,
        pass: &mut Pass,
    ) -> Result<[Tensor; 2]> {
        let (backbone_gates, neck_gates) = gates.split_at(self.gated.len());
        let own = image.to_dtype(self.dtype)?;
        let of_stage = |stage: usize| stage.checked_sub(self.gated.start).and_then(|gated| backbone_gates.get(gated));
        let of_stages: Vec<Option<&Gates>> = (0..self.gated.end).map(of_stage).collect();
        let maps =
            trace_span!("backbone").in_scope(|| self.backbone.forward(&own, plan, (&of_stages, pictures), pass))?;
        let _span = trace_span!("neck").entered();
        let levels = self.neck.forward(&maps, plan.grids(), neck_gates, pass)?;
        let mut read = levels.into_iter().skip(self.token_place);
        match (read.next(), read.next()) {
            (Some(fine), Some(coarse)) => {
                let exact = image.dtype();
                Ok([fine.to_dtype(exact)?, coarse.to_dtype(exact)?])
            }
            _ => candle_core::bail!("the neck returned fewer than two levels"),
        }
    }

    /// Grounds pictures against compiled queries; `None` for one whose features are no numbers.
    ///
    /// # Shapes
    /// `image [P, 3, H, W]`, `asked` the picture of each of `B` questions, `gates` and `text` of one query or of `B`,
    /// `ignore [B, N']` (1 = padding) or empty.
    #[expect(clippy::too_many_arguments, reason = "both halves of a question, and the canvas")]
    pub(crate) fn ground(
        &self,
        image: &Tensor,
        asked: &[usize],
        gates: &[Gates],
        text: &CompiledText,
        plan: &CanvasPlan,
        head: &HeadPlan,
        ignore: &[u8],
    ) -> Result<Vec<Option<Found>>> {
        let batch = asked.len();
        let numbers = || asked.iter().map(|&picture| picture as u32).collect();
        let one_each = batch == image.dim(0)? && asked.iter().copied().eq(0..batch);
        let pictures = (!one_each).then(|| Tensor::from_vec(numbers(), batch, image.device())).transpose()?;
        let levels = self.levels(image, gates, pictures.as_ref(), plan, &mut Pass::eval())?;
        let shape = (batch, ignore.len() / batch);
        let ignore = (!ignore.is_empty()).then(|| Tensor::from_slice(ignore, shape, image.device())).transpose()?;
        let _span = trace_span!("head").entered();
        let output = self.head.forward_compiled(&levels, ignore.as_ref(), text, head)?;
        // On a GPU, here is where its work is waited for.
        let boxes: Vec<Vec<f32>> = output.boxes.to_vec2()?;
        // Damage shows here: a ReLU behind it takes a NaN for a zero.
        let sums: Vec<f32> = output.reg.abs()?.sum(1)?.to_vec1()?;
        let presence = output.presence.map(|logit| blocks::ops::sigmoid(&logit)?.to_vec1::<f32>()).transpose()?;
        let found = |(i, raw): (usize, Vec<f32>)| {
            let numbers = sums[i].is_finite() && raw.iter().all(|value| value.is_finite());
            numbers.then(|| Found {
                rect: std::array::from_fn(|k| raw[k]),
                presence: presence.as_ref().map(|presence| presence[i]),
            })
        };
        Ok(boxes.into_iter().enumerate().map(found).collect())
    }

    /// The box head on any tokens of the fusion encoder: `[N, d]` → boxes `[N, 4]`, for training-only losses.
    ///
    /// # Errors
    /// The tokens are of another width.
    pub fn token_boxes(&self, tokens: &Tensor) -> Result<Tensor> {
        blocks::ops::sigmoid(&self.head.box_logits(tokens)?)
    }

    /// Grounds a batch of pictures.
    ///
    /// # Shapes
    /// `image [P, 3, H, W]` normalised, `image_ignore [P, H, W]` u8 (1 = letterbox padding), `query` with `Q = B`;
    /// `pictures [B]` u32 says which picture each query asks, where these are not one each.
    ///
    /// # Errors
    /// A shape that does not fit the canvas, or a device error.
    pub fn forward(
        &self,
        image: &Tensor,
        image_ignore: &Tensor,
        query: &QueryTensors,
        pictures: Option<&Tensor>,
        plan: &CanvasPlan,
        pass: &mut Pass,
    ) -> Result<Output> {
        let levels = self.levels(image, &query.gates, pictures, plan, pass)?;
        for level in 0..plan.level_count() {
            pass.tap(|| format!("visu_mask{level}"), &plan.level_mask(image_ignore, level)?);
        }
        let mut visual_ignore = plan.visual_mask(image_ignore)?;
        if let Some(pictures) = pictures {
            visual_ignore = visual_ignore.index_select(pictures, 0)?;
        }
        let text = TextTokens { tokens: &query.tokens, ignore: &query.ignore };
        self.head.forward(&levels, &visual_ignore, &text, &plan.positions, pass)
    }
}

/// Both halves: the model as it is trained.
pub struct QrNet {
    /// Reads text.
    pub query: QueryModel,
    /// Reads pictures.
    pub frame: FrameModel,
}

impl QrNet {
    /// Reads all weights from the root of a checkpoint.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        Ok(Self { query: QueryModel::new(config, vb)?, frame: FrameModel::new(config, vb)? })
    }

    /// The plain forward pass, one query per picture.
    ///
    /// # Shapes
    /// `image [B, 3, H, W]`, `image_ignore [B, H, W]` u8, `ids [B, L]` u32, `text_ignore [B, L]` u8.
    ///
    /// # Errors
    /// As [`QueryModel::encode`] and [`FrameModel::forward`].
    pub fn forward(
        &self,
        image: &Tensor,
        image_ignore: &Tensor,
        ids: &Tensor,
        text_ignore: &Tensor,
        plan: &CanvasPlan,
        pass: &mut Pass,
    ) -> Result<Output> {
        let query = self.query.encode(ids, text_ignore, pass)?;
        self.frame.forward(image, image_ignore, &query, None, plan, pass)
    }
}
