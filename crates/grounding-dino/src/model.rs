//! The half of a model that reads pictures: backbone, neck, encoder, the choice of proposals, decoder (Liu et al., ECCV 2024).
//!
//! Follows `GroundingDinoForObjectDetection` and `MMGroundingDinoForObjectDetection` of Hugging Face's `transformers`, one
//! picture at a time.

use blocks::canvas::Grid;
use blocks::layers::{LayerNorm, Linear};
use blocks::pass::Pass;
use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;
use tracing::trace_span;

use crate::config::Config;
use crate::decoder::{Decoded, Decoder, as_tensor, sigmoid};
use crate::encoder::EncoderLayer;
use crate::fusion::Streams;
use crate::heads::{BoxHead, Boxes, ScoreHead};
use crate::neck::Neck;
use crate::plan::Plan;
use crate::swin::{Backbone, PREFIX};
use crate::text::Text;

/// Weights that a frame touches, on tensors: what devices other than the CPU run, and what tells every step.
pub struct FrameModel {
    config: Config,
    backbone: Backbone,
    neck: Neck,
    level_embed: Tensor,
    layers: Vec<EncoderLayer>,
    proposal: Linear,
    proposal_norm: LayerNorm,
    proposal_scores: ScoreHead,
    proposal_boxes: BoxHead,
    /// `[1, Q, d]`: what every query starts from.
    queries: Tensor,
    decoder: Decoder,
    scores: ScoreHead,
    device: Device,
}

/// A picture as the encoder reads it, `[1, T, d]`; independent of what is asked of it.
pub struct Seen(Tensor);

/// What the model says of a picture and a text.
#[derive(Debug, Clone, Default)]
pub struct Detected {
    /// `[Q, L]`: a score of every query by every token of the text, behind the inverse of the sigmoid.
    pub logits: Vec<f32>,
    /// `(cx, cy, w, h)` in 0..1 of the picture with its padding.
    pub boxes: Vec<[f32; 4]>,
}

impl Detected {
    /// The logits of every query.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.logits.chunks_exact((self.logits.len() / self.boxes.len().max(1)).max(1))
    }

    /// Whether all numbers are some.
    pub fn is_finite(&self) -> bool {
        self.logits.iter().chain(self.boxes.as_flattened()).all(|value| value.is_finite())
    }
}

/// Proposals that were picked, best first.
struct Picked {
    tokens: Vec<usize>,
    boxes: Boxes,
}

impl FrameModel {
    /// Reads weights by the file's names.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn from_builder(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let mut model = Self::new(config, vb)?;
        model.freeze()?;
        Ok(model)
    }

    pub(crate) fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        let (width, model) = (config.width, vb.pp("model"));
        let layer = |number: usize| EncoderLayer::new(config, &model.pp(format!("encoder.layers.{number}")));
        let scoring = if config.shared_scores { 0 } else { config.decoder.layers - 1 };
        Ok(Self {
            config: config.clone(),
            backbone: Backbone::new(config, &vb.pp(PREFIX))?,
            neck: Neck::new(config, &model.pp("input_proj_vision"))?,
            level_embed: model.get((config.levels, width), "level_embed")?,
            layers: (0..config.encoder.layers).map(layer).collect::<Result<_>>()?,
            proposal: Linear::new(&model.pp("enc_output"), width, width)?,
            proposal_norm: LayerNorm::new(&model.pp("enc_output_norm"), width, config.eps)?,
            proposal_scores: ScoreHead::new(config, &model.pp("encoder_output_class_embed"))?,
            proposal_boxes: BoxHead::new(&model.pp("encoder_output_bbox_embed"), width)?,
            queries: model.get((config.queries, width), "query_position_embeddings.weight")?.unsqueeze(0)?,
            decoder: Decoder::new(config, vb)?,
            scores: ScoreHead::new(config, &vb.pp(format!("class_embed.{scoring}")))?,
            device: vb.device().clone(),
        })
    }

    /// Expands what follows from the weights alone.
    pub(crate) fn freeze(&mut self) -> Result<()> {
        self.backbone.freeze()
    }

    /// The geometry of pictures of `image` pixels, of which `shown` from the top left are the picture.
    ///
    /// # Errors
    /// Nothing is shown, or the device cannot hold it.
    pub fn plan(&self, image: Grid, shown: Grid) -> Result<Plan> {
        Plan::new(&self.config, image, shown, &self.device)?.with_levels(&self.level_embed)
    }

    /// What does not depend on the text.
    ///
    /// # Shapes
    /// `image [1, 3, H, W]` of the plan's size, normalised; padding is 0.
    ///
    /// # Errors
    /// The picture is of another size, or the device fails.
    pub fn look(&self, image: &Tensor, plan: &Plan, pass: &mut Pass) -> Result<Seen> {
        let Grid { h, w } = plan.image;
        if image.dims() != [1, 3, h, w] {
            candle_core::bail!("a picture of {:?}, expected [1, 3, {h}, {w}]", image.dims());
        }
        let maps = trace_span!("backbone").in_scope(|| self.backbone.forward(image, plan, pass))?;
        let tokens = trace_span!("neck").in_scope(|| self.neck.forward(&maps, plan, pass))?;
        Ok(Seen(tokens))
    }

    /// Looks for what a text says on a picture that was looked at.
    ///
    /// # Errors
    /// The plan is another picture's, or the device fails.
    pub fn find(&self, seen: &Seen, text: &Text, plan: &Plan, pass: &mut Pass) -> Result<Detected> {
        pass.tap(|| "text".into(), &text.tokens);
        let mut streams = Streams { vision: seen.0.clone(), text: text.tokens.clone() };
        for (number, layer) in self.layers.iter().enumerate() {
            let _span = trace_span!("encoder", number).entered();
            let fused = |words: &Tensor| pass.tap(|| format!("fusion{number}.text"), words);
            streams = layer.forward(&streams, plan, text, fused)?;
            pass.tap(|| format!("encoder{number}.vision"), &streams.vision);
            pass.tap(|| format!("encoder{number}.text"), &streams.text);
        }
        let picked = trace_span!("proposals").in_scope(|| self.pick(&streams, plan, pass))?;
        // A small picture has fewer tokens than there are queries.
        let queries = self.queries.narrow(1, 0, picked.tokens.len())?;
        let Decoded { queries, boxes } =
            trace_span!("decoder").in_scope(|| self.decoder.forward(&queries, picked.boxes, &streams, plan, pass))?;
        let logits = self.scores.forward(&queries, &streams.text)?;
        pass.tap(|| "logits".into(), &logits);
        if pass.is_tapped() {
            pass.tap(|| "boxes".into(), &as_tensor(&boxes)?);
        }
        Ok(Detected { logits: logits.flatten_all()?.to_vec1()?, boxes })
    }

    /// The proposals of the tokens that score best, and their boxes.
    fn pick(&self, streams: &Streams, plan: &Plan, pass: &mut Pass) -> Result<Picked> {
        // Tokens without a proposal score as zeros do.
        let tokens = streams.vision.broadcast_mul(&plan.proposing)?;
        let objects = self.proposal_norm.forward(&self.proposal.forward(&tokens)?)?;
        let scores = self.proposal_scores.forward(&objects, &streams.text)?.max(2)?;
        pass.tap(|| "proposal_scores".into(), &scores);
        let scores: Vec<f32> = scores.squeeze(0)?.to_vec1()?;
        let mut tokens: Vec<usize> = (0..scores.len()).collect();
        // Stable: of equals the first.
        tokens.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        tokens.truncate(self.config.queries);
        let places: Vec<u32> = tokens.iter().map(|token| *token as u32).collect();
        let places = Tensor::new(places, &self.device)?;
        pass.tap(|| "picked".into(), &places);
        let boxes = |of: &mut dyn Iterator<Item = usize>, objects: &Tensor| -> Result<Boxes> {
            let moves = self.proposal_boxes.forward(objects)?;
            let moved = |(change, token): (&[f32; 4], usize)| {
                let logits = plan.proposals[token].logits;
                std::array::from_fn(|i| sigmoid(change[i] + logits[i]))
            };
            Ok(moves.iter().zip(of).map(moved).collect())
        };
        if pass.is_tapped() {
            let all = boxes(&mut (0..scores.len()), &objects)?;
            pass.tap(|| "proposal_boxes".into(), &as_tensor(&all)?);
        }
        let boxes = boxes(&mut tokens.iter().copied(), &objects.index_select(&places, 1)?)?;
        if pass.is_tapped() {
            pass.tap(|| "references".into(), &as_tensor(&boxes)?);
        }
        Ok(Picked { tokens, boxes })
    }
}
