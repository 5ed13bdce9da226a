//! What follows from the size of a picture and the part of it that is shown: maps, windows, positions, reference points and
//! proposals.

use blocks::canvas::Grid;
use blocks::swin::{StageWindows, Windows};
use candle_core::{Device, Result, Tensor};

use crate::config::Config;

/// One of the maps that the encoder reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Its tokens.
    pub grid: Grid,
    /// Those that show the picture: rows and columns from the top left.
    pub shown: Grid,
    /// Where it begins among the tokens of all levels.
    pub start: usize,
}

impl Level {
    /// The part of width and height that is shown.
    fn ratios(&self) -> [f32; 2] {
        [self.shown.w as f32 / self.grid.w as f32, self.shown.h as f32 / self.grid.h as f32]
    }

    /// Row and column of every token, and whether it is shown.
    fn places(self) -> impl Iterator<Item = (usize, usize, bool)> {
        let Grid { h, w } = self.grid;
        (0..h * w).map(move |i| (i / w, i % w, i / w < self.shown.h && i % w < self.shown.w))
    }
}

/// A box that a token proposes before anything is known of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Proposal {
    /// `(cx, cy, w, h)` behind the inverse of the sigmoid; infinite where the token proposes none.
    pub logits: [f32; 4],
    /// Whether it proposes one: padding does not, nor do boxes at the very edge.
    pub valid: bool,
}

/// Geometry of pictures of one size.
pub struct Plan {
    /// Pixels.
    pub(crate) image: Grid,
    /// Windows of every stage of the backbone.
    pub(crate) windows: Windows,
    /// The maps that the encoder reads.
    pub levels: Vec<Level>,
    /// Positions of tokens, `[1, T, d]`: sine, and with them what is learnt of levels (see [`Plan::with_levels`]).
    pub(crate) positions: Tensor,
    /// Additive mask of padding over tokens, `[1, 1, 1, T]`; none where all show the picture.
    pub(crate) mask: Option<Tensor>,
    /// 1 for tokens that show the picture, `[1, T, 1]`; none where all do.
    pub(crate) shown: Option<Tensor>,
    /// Where every token looks on every level, `[T, levels, 2]`, x before y, 0..1.
    pub(crate) points: Vec<f32>,
    /// Parts of width and height that are shown, by level.
    pub(crate) ratios: Vec<[f32; 2]>,
    /// One for every token.
    pub(crate) proposals: Vec<Proposal>,
    /// 1 for tokens with a valid proposal, `[1, T, 1]`.
    pub(crate) proposing: Tensor,
}

/// Side of a token's proposal on the finest level, of the picture's.
const SIDE: f32 = 0.05;
/// Proposals that reach beyond these are none.
const INNER: (f32, f32) = (0.01, 0.99);
/// Keeps shares of an empty map from being a division by zero.
const EPS: f32 = 1e-6;

impl Plan {
    /// For pictures of `image` pixels, of which `shown` from the top left are the picture and the rest is padding.
    ///
    /// # Errors
    /// Nothing is shown, or the device cannot hold it.
    pub fn new(config: &Config, image: Grid, shown: Grid, device: &Device) -> Result<Self> {
        if shown.is_empty() || shown.h > image.h || shown.w > image.w {
            candle_core::bail!("a picture of {}x{} pixels on {}x{}", shown.w, shown.h, image.w, image.h);
        }
        let patch = config.swin.patch_size;
        let mut grid = Grid { h: image.h.div_ceil(patch), w: image.w.div_ceil(patch) };
        let mut stages = Vec::new();
        for _ in &config.swin.depths {
            stages.push(grid);
            grid = grid.half_up();
        }
        let mut grids: Vec<Grid> = config.stages.iter().map(|&stage| stages[stage]).collect();
        while grids.len() < config.levels {
            // A convolution of three with a stride of two and padding halves, and rounds up.
            let last = grids.last().map_or(grid, |last| last.half_up());
            grids.push(last);
        }
        let mut start = 0;
        let level = |grid: Grid| {
            let part = Grid { h: nearest(image.h, grid.h, shown.h), w: nearest(image.w, grid.w, shown.w) };
            let level = Level { grid, shown: part, start };
            start += grid.len();
            level
        };
        let levels: Vec<Level> = grids.into_iter().map(level).collect();
        if let Some(empty) = levels.iter().find(|level| level.shown.is_empty()) {
            candle_core::bail!(
                "a picture of {}x{} pixels shows nothing on a map of {:?}",
                shown.w,
                shown.h,
                empty.grid
            );
        }
        let windows = stages.iter().map(|grid| StageWindows::new(*grid, config.swin.window_size, device)).collect();
        let (width, tokens) = (config.width, start);
        let sine: Vec<f32> =
            levels.iter().flat_map(|level| sine_positions(*level, width, config.temperature)).collect();
        let padded = levels.iter().any(|level| level.shown != level.grid);
        let visible = visible(&levels);
        let flags = |flags: Vec<f32>| Tensor::from_vec(flags, (1, tokens, 1), device);
        let ignored: Vec<u8> = visible.iter().map(|shown| u8::from(!shown)).collect();
        let mask =
            || blocks::ops::additive_mask(&Tensor::from_vec(ignored, (1, tokens), device)?, candle_core::DType::F32);
        let ratios: Vec<[f32; 2]> = levels.iter().map(Level::ratios).collect();
        let proposals: Vec<Proposal> = levels.iter().enumerate().flat_map(|(i, level)| proposals(*level, i)).collect();
        Ok(Self {
            image,
            windows: Windows::new(windows),
            positions: Tensor::from_vec(sine, (1, tokens, width), device)?,
            mask: padded.then(mask).transpose()?,
            shown: padded
                .then(|| flags(visible.iter().map(|&shown| f32::from(u8::from(shown))).collect()))
                .transpose()?,
            points: points(&levels, &ratios),
            ratios,
            proposing: flags(proposals.iter().map(|proposal| f32::from(u8::from(proposal.valid))).collect())?,
            proposals,
            levels,
        })
    }

    /// The same with positions that also tell levels apart, by `learnt [levels, d]`.
    ///
    /// # Errors
    /// There are not as many levels, or the device fails.
    pub(crate) fn with_levels(mut self, learnt: &Tensor) -> Result<Self> {
        let width = learnt.dim(1)?;
        let of =
            |(number, level): (usize, &Level)| learnt.narrow(0, number, 1)?.broadcast_as((level.grid.len(), width));
        let learnt = self.levels.iter().enumerate().map(of).collect::<Result<Vec<_>>>()?;
        self.positions = self.positions.broadcast_add(&Tensor::cat(&learnt, 0)?)?;
        Ok(self)
    }

    /// Whether there are tokens that do not show the picture.
    pub(crate) fn is_padded(&self) -> bool {
        self.shown.is_some()
    }

    /// Whether tokens show the picture.
    pub(crate) fn visible(&self) -> Vec<bool> {
        visible(&self.levels)
    }

    /// Tokens of all levels.
    pub fn tokens(&self) -> usize {
        self.proposals.len()
    }
}

fn visible(levels: &[Level]) -> Vec<bool> {
    levels.iter().flat_map(|level| level.places().map(|(_, _, shown)| shown)).collect()
}

/// How many of `count` tokens along a side of `pixels` show the picture, whose part ends at `shown`: a token is what the
/// nearest pixel is, as the library scales its masks.
fn nearest(pixels: usize, count: usize, shown: usize) -> usize {
    let scale = pixels as f32 / count as f32;
    (0..count).filter(|&i| ((i as f32 * scale) as usize).min(pixels - 1) < shown).count()
}

/// The frequencies of `half` channels: pairs of sine and cosine share one.
pub(crate) fn frequencies(half: usize, temperature: f64) -> Vec<f32> {
    (0..half).map(|i| temperature.powf((2 * (i / 2)) as f64 / half as f64) as f32).collect()
}

/// Sine and cosine of one coordinate in turns; `angle` is it times a whole circle.
pub(crate) fn waves(angle: f32, frequencies: &[f32]) -> impl Iterator<Item = f32> {
    let wave = move |(i, frequency): (usize, &f32)| {
        let angle = angle / frequency;
        if i.is_multiple_of(2) { angle.sin() } else { angle.cos() }
    };
    frequencies.iter().enumerate().map(wave)
}

/// Positions of a map, `[h * w, d]`: y before x, counted over what is shown.
fn sine_positions(level: Level, width: usize, temperature: f64) -> Vec<f32> {
    let frequencies = frequencies(width / 2, temperature);
    // A token of padding counts as the last one that is shown, or as none in rows and columns of padding alone.
    let angle = |place: usize, shown: usize, along: bool| {
        let count = if along { (place + 1).min(shown) } else { 0 };
        let all = if along { shown } else { 0 };
        count as f32 / (all as f32 + EPS) * std::f32::consts::TAU
    };
    let of = |(y, x, _): (usize, usize, bool)| {
        let down = angle(y, level.shown.h, x < level.shown.w);
        let across = angle(x, level.shown.w, y < level.shown.h);
        waves(down, &frequencies).chain(waves(across, &frequencies)).collect::<Vec<f32>>()
    };
    level.places().flat_map(of).collect()
}

/// Where tokens of all levels look on all levels, `[T, levels, 2]`.
fn points(levels: &[Level], ratios: &[[f32; 2]]) -> Vec<f32> {
    let of = |level: &Level| {
        let ([across, down], Grid { h, w }) = (level.ratios(), level.grid);
        level.places().flat_map(move |(y, x, _)| {
            let (x, y) = ((x as f32 + 0.5) / (across * w as f32), (y as f32 + 0.5) / (down * h as f32));
            ratios.iter().flat_map(move |ratio| [x * ratio[0], y * ratio[1]])
        })
    };
    levels.iter().flat_map(of).collect()
}

/// The proposals of a map, the `number`th.
fn proposals(level: Level, number: usize) -> impl Iterator<Item = Proposal> {
    let side = SIDE * (1 << number) as f32;
    level.places().map(move |(y, x, shown)| {
        let Grid { h, w } = level.shown;
        let proposal = [(x as f32 + 0.5) / w as f32, (y as f32 + 0.5) / h as f32, side, side];
        let valid = shown && proposal.iter().all(|&value| value > INNER.0 && value < INNER.1);
        let logits = if valid { proposal.map(|value| (value / (1.0 - value)).ln()) } else { [f32::INFINITY; 4] };
        Proposal { logits, valid }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(image: Grid, shown: Grid) -> Plan {
        let config = Config::from_json(r#"{"model_type": "grounding-dino"}"#, "config.json").expect("sizes");
        Plan::new(&config, image, shown, &Device::Cpu).expect("a plan")
    }

    #[test]
    fn levels_halve_and_round_up() {
        // As the library has a picture of 1920x1080.
        let plan = plan(Grid { h: 750, w: 1333 }, Grid { h: 750, w: 1333 });
        let grids: Vec<(usize, usize)> = plan.levels.iter().map(|level| (level.grid.h, level.grid.w)).collect();
        assert_eq!(grids, [(94, 167), (47, 84), (24, 42), (12, 21)]);
        assert_eq!(plan.tokens(), grids.iter().map(|(h, w)| h * w).sum::<usize>());
        assert!(plan.mask.is_none() && plan.shown.is_none());
    }

    #[test]
    fn proposals_are_neither_at_the_edge_nor_on_padding() {
        let plan = plan(Grid { h: 256, w: 1024 }, Grid { h: 256, w: 1000 });
        let (finest, width) = (&plan.proposals[..32 * 128], 128);
        assert_eq!(plan.levels[0].shown, Grid { h: 32, w: 125 });
        let valid: Vec<bool> = finest[16 * width..17 * width].iter().map(|proposal| proposal.valid).collect();
        // 0.5/125 is too close to the edge, 1.5/125 is not.
        let expected: Vec<bool> = (0..width).map(|x| (1..124).contains(&x)).collect();
        assert_eq!(valid, expected);
        assert!(finest[16 * width].logits.iter().all(|value| *value == f32::INFINITY));
        let [x, y, w, h] = finest[16 * width + 62].logits;
        assert!(x.abs() < 1e-6 && (y - 0.0625_f32).abs() < 1e-3, "the middle: {x} {y}");
        assert!((w - (0.05_f32 / 0.95).ln()).abs() < 1e-5 && (w - h).abs() < 1e-6);
    }

    #[test]
    fn a_picture_that_no_token_shows_is_refused() {
        let config = Config::from_json(r#"{"model_type": "grounding-dino"}"#, "config.json").expect("sizes");
        let of = |h: usize, w: usize| Plan::new(&config, Grid { h: 64, w: 64 }, Grid { h, w }, &Device::Cpu);
        assert!(of(0, 5).is_err() && of(65, 64).is_err());
        assert!(of(1, 1).is_ok());
    }
}
