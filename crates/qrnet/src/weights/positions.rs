//! The position table of one canvas, for another: what a vision transformer does when it is given larger pictures.

use candle_core::{DType, Device, Tensor};

use crate::config::Config;
use blocks::canvas::Grid;
use blocks::error::Result;

/// Name of the table.
pub(super) const NAME: &str = "vl_pos_embed.weight";

/// Rows of `table`, which belongs to `from`, for the canvas of `to`: REG and text as they are, visual tokens by the place
/// of their cell's centre on the canvas, linearly between the nearest rows. None where the two differ in more than that.
pub(super) fn resampled(table: &Tensor, from: &Config, to: &Config) -> Result<Option<Tensor>> {
    let same = |config: &Config| (config.max_query_len, config.vl.hidden_dim, config.token_levels());
    if same(from) != same(to) || table.dims() != [from.position_rows(), from.vl.hidden_dim] {
        return Ok(None);
    }
    let rows: Vec<Vec<f32>> = table.to_dtype(DType::F32)?.to_vec2()?;
    let mut start = 1 + from.max_query_len;
    let mut out: Vec<f32> = rows[..start].concat();
    for level in from.token_levels() {
        let old = from.level_grid(from.position_canvas(), level);
        let new = to.level_grid(to.position_canvas(), level);
        for corners in corners(old, new) {
            let sum = |i: usize| corners.iter().map(|(place, weight)| weight * rows[start + place][i]).sum::<f32>();
            out.extend((0..from.vl.hidden_dim).map(sum));
        }
        start += old.len();
    }
    Ok(Some(Tensor::from_vec(out, (to.position_rows(), to.vl.hidden_dim), &Device::Cpu)?))
}

/// For every cell of `new` the four cells of `old` around its centre, and how much each of them counts.
pub(crate) fn corners(old: Grid, new: Grid) -> impl Iterator<Item = [(usize, f32); 4]> {
    (0..new.len()).map(move |cell| {
        let (left, right, x) = between(cell % new.w, new.w, old.w);
        let (above, below, y) = between(cell / new.w, new.h, old.h);
        let place = |x: usize, y: usize| y * old.w + x;
        [
            (place(left, above), (1.0 - x) * (1.0 - y)),
            (place(right, above), x * (1.0 - y)),
            (place(left, below), (1.0 - x) * y),
            (place(right, below), x * y),
        ]
    })
}

/// The two old cells around the centre of a new one, and how far it is from the first to the second.
fn between(cell: usize, new: usize, old: usize) -> (usize, usize, f32) {
    let place = ((cell as f32 + 0.5) * old as f32 / new as f32 - 0.5).clamp(0.0, old as f32 - 1.0);
    let first = place as usize;
    (first, (first + 1).min(old - 1), place - first as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use blocks::canvas::Canvas;

    fn config(width: usize, height: usize) -> Config {
        let text = include_str!("../../../../configs/model/sprites-tiny.toml");
        let mut config = Config::from_toml(text, "sprites-tiny.toml").expect("sizes");
        config.canvas = Canvas { width, height };
        config
    }

    /// A table whose visual rows hold their own place: the first columns x and y of the cell's centre, 0..1.
    fn places(config: &Config) -> Tensor {
        let d = config.vl.hidden_dim;
        let mut rows = vec![vec![7.0; d]; 1 + config.max_query_len];
        for level in config.token_levels() {
            let grid = config.level_grid(config.canvas, level);
            rows.extend((0..grid.len()).map(|cell| {
                let mut row = vec![0.0; d];
                row[0] = ((cell % grid.w) as f32 + 0.5) / grid.w as f32;
                row[1] = ((cell / grid.w) as f32 + 0.5) / grid.h as f32;
                row
            }));
        }
        Tensor::new(rows, &Device::Cpu).expect("a table")
    }

    #[test]
    fn rows_tell_the_same_place_on_another_canvas() {
        let (from, to) = (config(128, 128), config(384, 320));
        let table = resampled(&places(&from), &from, &to).expect("resampled").expect("the same model");
        let (found, wanted): (Vec<Vec<f32>>, Vec<Vec<f32>>) =
            (table.to_vec2().expect("rows"), places(&to).to_vec2().expect("rows"));
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(&wanted) {
            for axis in 0..2 {
                // Nobody knows what is beyond the outermost centres of the old cells.
                let wanted = if wanted[0] < 1.0 { wanted[axis].clamp(0.125, 0.875) } else { wanted[axis] };
                let tolerance = if (0.25..=0.75).contains(&wanted) { 1e-6 } else { 0.13 };
                assert!((found[axis] - wanted).abs() <= tolerance, "{found:?} {wanted:?}");
            }
        }
    }

    #[test]
    fn the_same_canvas_keeps_its_rows_and_another_model_gets_none() {
        let from = config(128, 128);
        let table = places(&from);
        let same = resampled(&table, &from, &from).expect("resampled").expect("the same model");
        assert_eq!(same.to_vec2::<f32>().expect("rows"), table.to_vec2::<f32>().expect("rows"));
        let longer = Config { max_query_len: 20, ..config(256, 256) };
        assert!(resampled(&table, &from, &longer).expect("answered").is_none());
    }

    #[test]
    fn a_table_with_as_many_rows_is_resampled_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let (wide, high) = (config(256, 128), config(128, 256));
        assert_eq!(wide.position_rows(), high.position_rows());
        let tensors = crate::init::parameters(&wide, 1, &Device::Cpu).expect("drawn");
        let others = tensors.into_iter().filter(|(name, _)| name != NAME);
        let all: Vec<(String, Tensor)> = others.chain([(NAME.to_owned(), places(&wide))]).collect();
        let path = folder.path().join("model.safetensors");
        blocks::checkpoint::save(&all, None, &path).expect("saved");
        let sources = crate::weights::Sources { model: Some(&path), model_config: Some(&wide), ..Default::default() };
        let (found, _) = crate::weights::initialise(&high, 1, sources, &Device::Cpu).expect("initialised");
        let rows: Vec<Vec<f32>> = found[NAME].to_vec2().expect("rows");
        // Four cells across instead of eight.
        let across: Vec<f32> = rows[1 + high.max_query_len..][..4].iter().map(|row| row[0]).collect();
        assert_eq!(across, [0.125, 0.375, 0.625, 0.875]);
    }
}
