//! Sentences as tokens. The text tower sees one phrase at a time: masks are block-diagonal and positions restart at every
//! phrase, so a phrase has the same features whatever else is asked, and those of a list are put side by side.

use blocks::layers::Linear;
use blocks::pass::Pass;
use blocks::text::bert::Bert;
use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;

use crate::config::Config;
use crate::plan::{frequencies, waves};

/// What frames a text: `[CLS]` and `[SEP]` of bert-base-uncased, whose ids are part of the architecture.
pub const FRAMING: [u32; 2] = [101, 102];
/// The full stop, which ends every phrase.
pub const STOP: u32 = 1012;
/// Pieces that end a phrase: framing, full stop and question mark.
const DELIMITERS: [u32; 4] = [FRAMING[0], FRAMING[1], STOP, 1029];
/// Temperature of the sine positions of words.
const TEMPERATURE: f64 = 10_000.0;

/// Whether a piece ends a phrase; it is no word.
pub fn is_delimiter(piece: u32) -> bool {
    DELIMITERS.contains(&piece)
}

/// The phrases of a text, each with the delimiter that ends it.
pub fn phrases(pieces: &[u32]) -> impl Iterator<Item = &[u32]> {
    pieces.split_inclusive(|piece| is_delimiter(*piece))
}

/// The half of a model that reads text.
pub struct TextModel {
    bert: Bert,
    projection: Linear,
}

impl TextModel {
    pub(crate) fn new(config: &Config, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            bert: Bert::new(&config.bert, &vb.pp("model.text_backbone"))?,
            projection: Linear::new(&vb.pp("model.text_projection"), config.bert.hidden_size, config.width)?,
        })
    }

    /// The tower's features of pieces, phrase by phrase, `[n, D]`.
    ///
    /// # Errors
    /// A piece is outside the vocabulary, a phrase longer than the table of positions, or the device fails.
    pub fn features(&self, pieces: &[u32], device: &Device) -> Result<Tensor> {
        let of = |phrase: &[u32]| {
            let ids = Tensor::new(phrase, device)?.unsqueeze(0)?;
            let ignore = Tensor::zeros(ids.shape(), candle_core::DType::U8, device)?;
            self.bert.forward(&ids, &ignore, &mut Pass::eval())?.squeeze(0)
        };
        Tensor::cat(&phrases(pieces).map(of).collect::<Result<Vec<_>>>()?, 0)
    }

    /// Features `[n, D]` → tokens as the encoder reads them, `[n, d]`.
    ///
    /// # Errors
    /// The device fails.
    pub fn project(&self, features: &Tensor) -> Result<Tensor> {
        self.projection.forward(features)
    }
}

/// Of queries side by side behind `[CLS]`, the tokens that are their words.
pub(crate) fn spans<'a>(queries: impl Iterator<Item = &'a [u32]>) -> impl Iterator<Item = Vec<usize>> {
    let mut first = 1;
    queries.map(move |pieces| {
        let own = (0..pieces.len()).filter(|&i| !is_delimiter(pieces[i])).map(|i| first + i).collect();
        first += pieces.len();
        own
    })
}

/// A list of queries as the encoder reads it.
pub struct Text {
    /// `[1, L, d]`.
    pub(crate) tokens: Tensor,
    /// Sine positions, `[1, L, d]`.
    pub(crate) positions: Tensor,
    /// What tokens of other phrases add to each other's scores, `[1, 1, L, L]`.
    pub(crate) mask: Tensor,
    /// For every query the tokens that are its words.
    pub spans: Vec<Vec<usize>>,
}

impl Text {
    /// What it takes.
    pub(crate) fn bytes(&self) -> usize {
        [&self.tokens, &self.positions, &self.mask].map(|tensor| tensor.elem_count() * size_of::<f32>()).iter().sum()
    }

    /// Of the tokens of `[CLS]` and `[SEP]`, `framing [2, d]`, and of every query its pieces and their tokens `[n, d]`.
    ///
    /// # Errors
    /// Pieces and tokens do not fit, or the device fails.
    pub fn new(framing: &Tensor, queries: &[(&[u32], &Tensor)]) -> Result<Self> {
        let (mut numbers, mut places) = (vec![0], vec![0]);
        let spans = spans(queries.iter().map(|(pieces, _)| *pieces)).collect();
        let mut parts = vec![framing.narrow(0, 0, 1)?];
        for (pieces, tokens) in queries {
            if tokens.dim(0)? != pieces.len() {
                candle_core::bail!("{} pieces with {:?} tokens", pieces.len(), tokens.shape());
            }
            for phrase in phrases(pieces) {
                let number = numbers.last().map_or(0, |last| last + 1);
                numbers.extend(std::iter::repeat_n(number, phrase.len()));
                places.extend(0..phrase.len());
            }
            parts.push((*tokens).clone());
        }
        numbers.push(usize::MAX);
        places.push(0);
        parts.push(framing.narrow(0, 1, 1)?);
        let (count, width, device) = (numbers.len(), framing.dim(1)?, framing.device());
        let apart = |a: &usize, b: &usize| if a == b { 0.0 } else { f32::MIN };
        let mask: Vec<f32> = numbers.iter().flat_map(|a| numbers.iter().map(move |b| apart(a, b))).collect();
        let frequencies = frequencies(width, TEMPERATURE);
        let angle = |place: &usize| *place as f32 * std::f32::consts::TAU;
        let positions: Vec<f32> = places.iter().flat_map(|place| waves(angle(place), &frequencies)).collect();
        Ok(Self {
            tokens: Tensor::cat(&parts, 0)?.unsqueeze(0)?,
            positions: Tensor::from_vec(positions, (1, count, width), device)?,
            mask: Tensor::from_vec(mask, (1, 1, count, count), device)?,
            spans,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_see_themselves_alone_and_count_from_zero() {
        let device = Device::Cpu;
        let tokens = |count: usize| Tensor::zeros((count, 32), candle_core::DType::F32, &device).expect("tokens");
        let (cars, dogs) = ([200, 208, STOP], [210, 1029, 201, 205, STOP]);
        let text = Text::new(&tokens(2), &[(&cars, &tokens(3)), (&dogs, &tokens(5))]).expect("a text");
        assert_eq!(text.spans, [vec![1, 2], vec![4, 6, 7]]);
        let mask: Vec<Vec<f32>> = text.mask.squeeze(0).and_then(|m| m.squeeze(0)?.to_vec2()).expect("a mask");
        let block = [0, 1, 1, 1, 2, 2, 3, 3, 3, 4];
        for (i, row) in mask.iter().enumerate() {
            let seen: Vec<bool> = row.iter().map(|value| *value == 0.0).collect();
            let expected: Vec<bool> = block.iter().map(|other| *other == block[i]).collect();
            assert_eq!(seen, expected, "row {i}");
        }
        let positions: Vec<Vec<f32>> = text.positions.squeeze(0).and_then(|p| p.to_vec2()).expect("positions");
        assert_eq!(positions[1], positions[4]);
        assert_eq!(positions[2], positions[5]);
        assert_eq!(positions[3], positions[8]);
        assert_ne!(positions[1], positions[2]);
    }
}
