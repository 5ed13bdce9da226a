//! A sender's clock in ours: when pictures are to be shown that come over a network.

/// Nanoseconds.
pub(super) const SECOND: i64 = 1_000_000_000;
/// How long is looked for the packet that came soonest.
const WINDOW: i64 = 2 * SECOND;
/// A camera whose time is this far from where it was has a new one.
const JUMP: i64 = SECOND;
/// A camera whose time goes back this far has a new one too: no order of pictures is that long.
const BACK: i64 = 10 * SECOND;
/// How fast the camera's clock may be corrected, per second: what no picture's time shows.
const GENTLE: f64 = 0.002;
/// The share that is corrected in a second where it is more than [`MUCH`]: that is no order of pictures and no chance.
const SHARE: f64 = 0.125;
/// Pictures are sent this much sooner than others of their stream, for their order alone.
const MUCH: i64 = SECOND / 2;

/// Where a sender's time lies in running time. Packets come late by chance and never too soon, so the one that came soonest
/// says it; clocks of cameras run a little fast or slow, so it is looked for again and again.
#[derive(Debug, Default)]
pub(super) struct ClockSkew {
    /// Running time where the sender's time is 0, nanoseconds.
    offset: Option<i64>,
    /// What it should be, by the last window.
    wanted: i64,
    /// Since when this window is open, and the least of what packets in it say.
    window: Option<(i64, i64)>,
    /// The sender's time of the newest picture.
    newest: i64,
}

impl ClockSkew {
    /// The running time of `sent`, of a packet that came at `arrival`; nanoseconds all of them.
    pub(super) fn shown(&mut self, sent: i64, arrival: i64) -> i64 {
        let says = arrival - sent;
        let offset = match self.offset {
            Some(offset) if says > offset - JUMP && sent > self.newest - BACK => offset,
            // The first one; or it came before it could, or long after it should.
            _ => {
                (self.wanted, self.window, self.newest) = (says, None, sent);
                says
            }
        };
        let (since, least) = self.window.map_or((arrival, says), |(since, least)| (since, least.min(says)));
        self.window = Some((since, least));
        let mut offset = offset;
        if arrival - since >= WINDOW {
            self.wanted = least;
            self.window = None;
            if (least - offset).abs() > JUMP {
                offset = least;
            }
        }
        let passed = (sent - self.newest).clamp(0, SECOND);
        self.newest = self.newest.max(sent);
        let left = self.wanted - offset;
        let pace = if left.abs() < MUCH { GENTLE } else { SHARE * left.abs() as f64 / SECOND as f64 };
        let most = (passed as f64 * pace) as i64;
        offset += left.clamp(-most, most);
        self.offset = Some(offset);
        sent + offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = SECOND / 1000;

    /// Pictures at ten a second in the order I P B B P B B, sent when the one before them in that order is through, with a clock
    /// that is `fast` and chance delays. Returns how far every time is from even ones.
    fn unevenness(fast: f64, tremble: i64, seconds: i64) -> Vec<i64> {
        let mut skew = ClockSkew::default();
        let mut shown = Vec::new();
        for sent in 0..seconds * 10 {
            let place = match sent {
                0 => 0,
                sent if sent % 3 == 1 => sent + 2,
                sent => sent - 1,
            };
            let rtp = (place as f64 * 100.0 * MS as f64 * fast) as i64;
            let late = (sent * 7919) % 31 * tremble / 31;
            shown.push((place, skew.shown(rtp, sent * 100 * MS + 500 * MS + late)));
        }
        shown.sort_unstable();
        let follow = |pair: &&[(i64, i64)]| pair[0].0 + 1 == pair[1].0;
        shown.windows(2).filter(follow).map(|pair| pair[1].1 - pair[0].1 - 100 * MS).collect()
    }

    #[test]
    fn times_are_even_whatever_the_order_and_the_network() {
        for (fast, tremble) in [(1.0, 0), (1.0, 30 * MS), (1.0001, 30 * MS), (0.9999, 0)] {
            let off = unevenness(fast, tremble, 60);
            let most = off.iter().map(|off| off.abs()).max().unwrap_or_default();
            assert!(most < MS, "{fast}, {tremble}: off by {most} ns");
        }
    }

    /// A camera that sets its clock, or plays its film again from the start.
    #[test]
    fn a_clock_that_jumps_is_followed_at_once() {
        for jump in [-3600, -100, -20, 2, 100] {
            let mut skew = ClockSkew::default();
            for frame in 0..500 {
                let (arrival, jumped) = (frame * 40 * MS, if frame < 250 { 0 } else { jump * SECOND });
                let off = skew.shown(5000 * SECOND + arrival + jumped, arrival) - arrival;
                assert!(off.abs() < 5 * MS, "after {jump} s: {frame} is off by {off} ns");
            }
        }
    }

    /// Also one whose rate is a lie stays with the time of its frames' arrival.
    #[test]
    fn a_clock_that_runs_away_is_held() {
        for fast in [1.1, 0.9] {
            let mut skew = ClockSkew::default();
            for sent in 0..5000 {
                let (rtp, arrival) = ((sent as f64 * 40.0 * MS as f64 * fast) as i64, sent * 40 * MS);
                let off = skew.shown(rtp, arrival) - arrival;
                assert!(off.abs() < 3 * SECOND / 2, "{fast}: {sent} is off by {off}");
            }
        }
    }
}
