//! Windows of a token map: zero padding, cyclic shift, partition, and the mask of the shifted layout (SPEC 2.2).

use std::sync::{Arc, OnceLock};

use candle_core::{Device, Result, Tensor};

use crate::canvas::Grid;
use crate::ops::ShiftMask;
use crate::ops::kernel::{self, RowMap, ZERO_ROW, gather_rows};

/// Window layouts of every stage on one canvas.
pub struct Windows(Vec<Arc<StageWindows>>);

impl Windows {
    /// Of these stages.
    pub fn new(stages: Vec<StageWindows>) -> Self {
        Self(stages.into_iter().map(Arc::new).collect())
    }

    /// That of one stage.
    pub fn stage(&self, stage: usize) -> &StageWindows {
        &self.0[stage]
    }

    /// As [`Windows::stage`], to keep.
    pub fn shared(&self, stage: usize) -> Arc<StageWindows> {
        Arc::clone(&self.0[stage])
    }
}

/// How one stage's map falls into windows.
pub struct StageWindows {
    grid: Grid,
    padded: Grid,
    side: usize,
    /// Made when it is first asked for: it takes megabytes, and kernels that know windows by their kind do without.
    shift_mask: OnceLock<ShiftMask>,
    device: Device,
    /// Which token every place in the windows holds; plain and shifted.
    maps: [RowMap; 2],
    /// The tokens in the order that patch merging joins them in: four by four.
    merging: RowMap,
}

/// What a pair of tokens from different regions gets added in a shifted layout; not infinite (SPEC quirk Q1).
const OTHER_REGION: f32 = -100.0;

impl StageWindows {
    /// Of a map of tokens, in windows of `side` tokens.
    pub fn new(grid: Grid, side: usize, device: &Device) -> Self {
        let padded = Grid { h: grid.h.next_multiple_of(side), w: grid.w.next_multiple_of(side) };
        let maps = [0, side / 2].map(|shift| row_map(grid, padded, side, shift));
        let (shift_mask, device) = (OnceLock::new(), device.clone());
        Self { grid, padded, side, shift_mask, device, maps, merging: merging_map(grid) }
    }

    /// The map.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// The map with whole windows.
    pub fn padded(&self) -> Grid {
        self.padded
    }

    /// Which token every place in the windows holds.
    pub fn map(&self, shifted: bool) -> &RowMap {
        &self.maps[usize::from(shifted)]
    }

    /// The order in which patch merging joins tokens.
    pub fn merging(&self) -> &RowMap {
        &self.merging
    }

    /// Windows in one map.
    pub fn count(&self) -> usize {
        self.padded.len() / self.area()
    }

    /// Tokens in one window.
    pub fn area(&self) -> usize {
        self.side * self.side
    }

    /// Half a window: how far shifted blocks roll.
    fn shift(&self) -> i32 {
        (self.side / 2) as i32
    }

    /// Additive mask of shifted blocks, `[windows, area, area]`.
    ///
    /// # Errors
    /// The device cannot hold the mask.
    pub fn shift_mask(&self) -> Result<&ShiftMask> {
        if let Some(mask) = self.shift_mask.get() {
            return Ok(mask);
        }
        let shape = (self.count(), self.area(), self.area());
        let values: Vec<f32> = (0..self.count()).flat_map(|window| self.window_mask(window)).collect();
        let mask = ShiftMask::new(Tensor::from_vec(values, shape, &self.device)?)?;
        Ok(self.shift_mask.get_or_init(|| mask))
    }

    /// What one window of a shifted block adds to its scores, `[area, area]`: nine regions of the map, already rolled, are
    /// told apart.
    pub fn window_mask(&self, window: usize) -> Vec<f32> {
        let (shift, side) = (self.side / 2, self.side);
        let region = |position: usize, length: usize| match position {
            p if p < length - side => 0,
            p if p < length - shift => 1,
            _ => 2,
        };
        let across = self.padded.w / side;
        let (top, left) = (window / across * side, window % across * side);
        let label = |t: usize| 3 * region(top + t / side, self.padded.h) + region(left + t % side, self.padded.w);
        let labels: Vec<usize> = (0..self.area()).map(label).collect();
        let pairs = labels.iter().flat_map(|a| labels.iter().map(move |b| if a == b { 0.0 } else { OTHER_REGION }));
        pairs.collect()
    }

    /// Pads right and bottom with zeros, rolls by half a window if `shifted`, cuts into windows.
    ///
    /// # Shapes
    /// `x [B, H*W, C]` → `[B * windows, area, C]`.
    pub fn partition(&self, x: &Tensor, shifted: bool) -> Result<Tensor> {
        let (batch, _, channels) = x.dims3()?;
        if kernel::fits(&[x]) {
            let rows = gather_rows(x, self.map(shifted))?;
            return rows.reshape((batch * self.count(), self.area(), channels));
        }
        let (Grid { h, w }, side) = (self.padded, self.side);
        let mut map = x.reshape((batch, self.grid.h, self.grid.w, channels))?;
        if self.padded != self.grid {
            map = map.pad_with_zeros(1, 0, h - self.grid.h)?.pad_with_zeros(2, 0, w - self.grid.w)?;
        }
        if shifted {
            map = map.roll(-self.shift(), 1)?.roll(-self.shift(), 2)?;
        }
        map.reshape(vec![batch, h / side, side, w / side, side, channels])?.permute(vec![0, 1, 3, 2, 4, 5])?.reshape((
            batch * self.count(),
            self.area(),
            channels,
        ))
    }

    /// Undoes [`StageWindows::partition`] and crops the padding away.
    pub fn merge(&self, windows: &Tensor, shifted: bool) -> Result<Tensor> {
        let channels = windows.dim(2)?;
        let batch = windows.dim(0)? / self.count();
        if kernel::fits(&[windows]) {
            let rows = windows.reshape((batch, self.padded.len(), channels))?;
            return gather_rows(&rows, &self.map(shifted).inverse());
        }
        let (Grid { h, w }, side) = (self.padded, self.side);
        let mut map = windows
            .reshape(vec![batch, h / side, w / side, side, side, channels])?
            .permute(vec![0, 1, 3, 2, 4, 5])?
            .reshape((batch, h, w, channels))?;
        if shifted {
            map = map.roll(self.shift(), 1)?.roll(self.shift(), 2)?;
        }
        if self.padded != self.grid {
            map = map.narrow(1, 0, self.grid.h)?.narrow(2, 0, self.grid.w)?.contiguous()?;
        }
        map.reshape((batch, self.grid.len(), channels))
    }
}

/// Padding, roll and partition as one gather: for every place, window by window, the token that comes there.
fn row_map(grid: Grid, padded: Grid, side: usize, shift: usize) -> RowMap {
    let mut sources = Vec::with_capacity(padded.len());
    for top in (0..padded.h).step_by(side) {
        for left in (0..padded.w).step_by(side) {
            for place in 0..side * side {
                let y = (top + place / side + shift) % padded.h;
                let x = (left + place % side + shift) % padded.w;
                let inside = y < grid.h && x < grid.w;
                sources.push(if inside { (y * grid.w + x) as u32 } else { ZERO_ROW });
            }
        }
    }
    RowMap::new(sources, grid.len())
}

/// 2x2 tokens after one another, column parity slow, row parity fast (SPEC 2.3); zeros beyond a map of odd sides.
fn merging_map(grid: Grid) -> RowMap {
    let Grid { h, w } = grid.half_up();
    let sources = (0..h * w).flat_map(|place| {
        let (y, x) = (2 * (place / w), 2 * (place % w));
        [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(down, right)| {
            let (y, x) = (y + down, x + right);
            if y < grid.h && x < grid.w { (y * grid.w + x) as u32 } else { ZERO_ROW }
        })
    });
    RowMap::new(sources.collect(), grid.len())
}

/// For every pair of tokens of a window, the row of the relative position table: `[area * area]`, query slow.
pub fn relative_position_index(side: usize) -> Vec<u32> {
    let area = side * side;
    let span = 2 * side - 1;
    let mut index = Vec::with_capacity(area * area);
    for query in 0..area {
        for key in 0..area {
            let rows = query / side + side - 1 - key / side;
            let columns = query % side + side - 1 - key % side;
            index.push((rows * span + columns) as u32);
        }
    }
    index
}
