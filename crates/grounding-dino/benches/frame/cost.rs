//! What frames multiply.

use blocks::canvas::Grid;
use blocks::swin::SwinConfig;
use grounding_dino::Config;
use grounding_dino::config::StackConfig;

/// The maps of a Swin's stages.
pub(crate) fn grids(config: &SwinConfig, size: Grid) -> Vec<Grid> {
    let mut grid = Grid { h: size.h / config.patch_size, w: size.w / config.patch_size };
    let next = |_: &usize| {
        let half = grid.half_up();
        std::mem::replace(&mut grid, half)
    };
    config.depths.iter().map(next).collect()
}

/// Multiplications of a Swin.
pub(crate) fn of_swin(config: &SwinConfig, size: Grid) -> usize {
    let mut total = 0;
    for (stage, (grid, depth)) in grids(config, size).into_iter().zip(&config.depths).enumerate() {
        let (c, side) = (config.channels(stage), config.window_size);
        let padded = grid.h.next_multiple_of(side) * grid.w.next_multiple_of(side);
        let block = padded * (4 * c * c + 2 * side * side * c) + grid.len() * 2 * c * config.mlp_hidden(stage);
        let begins = if stage == 0 { grid.len() * 48 * c } else { grid.len() * 2 * c * c };
        total += begins + depth * block;
    }
    total
}

/// Multiplications of a frame, fusion folded, with `words` tokens of text.
pub(crate) fn of_frame(config: &Config, size: Grid, words: usize) -> usize {
    let (d, grids) = (config.width, grids(&config.swin, size));
    let mut levels: Vec<(Grid, usize)> =
        config.stages.iter().map(|&stage| (grids[stage], config.swin.channels(stage))).collect();
    while let Some(&(last, inputs)) = levels.last().filter(|_| levels.len() < config.levels) {
        levels.push((last.half_up(), 9 * inputs));
    }
    let tokens: usize = levels.iter().map(|(grid, _)| grid.len()).sum();
    let neck: usize = levels.iter().map(|(grid, inputs)| grid.len() * inputs * d).sum();
    let looks = |stack: &StackConfig| config.levels * stack.points;
    let columns = config.fusion_heads() * words;
    let (encoder, decoder, queries) = (&config.encoder, &config.decoder, config.queries);
    let deformable =
        |stack: &StackConfig| d * d + 3 * stack.heads * looks(stack) * d + 4 * looks(stack) * d + 2 * d * stack.hidden;
    let inner = config.fusion_width();
    let text = words * (3 * d * inner + 3 * d * inner + 4 * d * d + d * encoder.hidden);
    let encoding = encoder.layers * (tokens * (d * d + 3 * columns * d + deformable(encoder)) + text);
    let query = 3 * d * d + 4 * d * d + 2 * queries * d + 2 * d * d + 2 * words * d + deformable(decoder) + 2 * d * d;
    let decoding = decoder.layers * (tokens * d * d + queries * query);
    let proposing = tokens * (d * d + words * d) + queries * 2 * d * d;
    of_swin(&config.swin, size) + neck + encoding + proposing + decoding
}
