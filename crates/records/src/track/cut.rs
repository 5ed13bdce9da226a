//! Scene cuts: frames that have next to nothing in common with the one before.
//!
//! Compared are grey thumbnails. A cut is a change that is large in itself and far above what the last frames changed by,
//! in place and in brightness distribution: a pan changes places but not the distribution, a flash changes both but goes back.

/// Width and height of the thumbnails, pixels.
pub const THUMBNAIL: (usize, usize) = (32, 18);
/// Mean change in a pixel, of 255, below which nothing is a cut.
const LEAST: f64 = 18.0;
/// How far above the usual change.
const RATIO: f64 = 3.0;
/// Share of pixels that change their brightness class, below which the same things are in view.
const SHARE: f64 = 0.18;
/// Brightness classes.
const CLASSES: usize = 16;
/// Weight of the newest change in the usual one.
const NEWEST: f64 = 0.2;

/// Compares each thumbnail with the one before.
#[derive(Debug, Default)]
pub struct CutDetector {
    last: Vec<u8>,
    usual: f64,
}

impl CutDetector {
    /// True where `thumbnail`, grey, one byte a pixel, shows another scene than the one before. The first never does; nor
    /// does one of another size.
    pub fn is_cut(&mut self, thumbnail: &[u8]) -> bool {
        let comparable = self.last.len() == thumbnail.len() && !thumbnail.is_empty();
        let cut = comparable && {
            let count = thumbnail.len() as f64;
            let change = self.last.iter().zip(thumbnail).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / count;
            let (before, after) = (classes(&self.last), classes(thumbnail));
            let moved = before.iter().zip(after).map(|(a, b)| f64::from(a.abs_diff(b))).sum::<f64>() / 2.0 / count;
            let cut = change > LEAST && change > RATIO * self.usual && moved > SHARE;
            // A cut says nothing of how the new scene moves.
            self.usual = if cut { 0.0 } else { self.usual + NEWEST * (change - self.usual) };
            cut
        };
        self.last.clear();
        self.last.extend_from_slice(thumbnail);
        cut
    }
}

fn classes(thumbnail: &[u8]) -> [u32; CLASSES] {
    let mut counts = [0; CLASSES];
    for &pixel in thumbnail {
        counts[usize::from(pixel) * CLASSES / 256] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stripes of a scene's own grey levels, moved by `shift`.
    fn scene(number: usize, shift: usize) -> Vec<u8> {
        let (w, h) = THUMBNAIL;
        let pixel = |x: usize, y: usize| (((x + shift) / 4 * 37 + y / 3 * 11 + number * 90) % 120 + number * 60) as u8;
        (0..h).flat_map(|y| (0..w).map(move |x| pixel(x, y))).collect()
    }

    #[test]
    fn a_cut_is_one_and_a_pan_is_none() {
        let mut detector = CutDetector::default();
        for shift in 0..12 {
            assert!(!detector.is_cut(&scene(0, shift)), "moving {shift}");
        }
        assert!(detector.is_cut(&scene(2, 0)), "another scene");
        for shift in 0..12 {
            assert!(!detector.is_cut(&scene(2, shift)), "moving {shift} after the cut");
        }
        assert!(detector.is_cut(&scene(0, 3)), "and back");
    }

    #[test]
    fn noise_and_small_change_are_none() {
        let mut detector = CutDetector::default();
        for k in 0..20_usize {
            let noisy: Vec<u8> =
                scene(1, 0).iter().enumerate().map(|(i, p)| p + (i * 31 + k * 17) as u8 % 16).collect();
            assert!(!detector.is_cut(&noisy));
        }
    }
}
