//! When a frame is, by all clocks.

use std::time::Duration;

use records::FrameRef;

/// A frame of a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// Time of the stream that went by since its first frame. It never goes back.
    pub elapsed: Duration,
    /// As events name it.
    pub at: FrameRef,
    /// Index in the file, from 0; none when live.
    pub frame_index: Option<u64>,
    /// Width and height of its picture, pixels.
    pub size: (f64, f64),
}

/// How far apart two frames are taken to be whose times do not rise.
const FRAME_TIME: Duration = Duration::from_millis(40);

/// Makes one clock of times that may jump back: a camera that restarts, a film that begins anew.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock {
    elapsed: Duration,
    last: Option<Duration>,
}

impl Clock {
    /// What went by until a frame with the stream time `time`.
    pub(super) fn advance(&mut self, time: Duration) -> Duration {
        if let Some(last) = self.last.replace(time) {
            self.elapsed += time.checked_sub(last).filter(|step| !step.is_zero()).unwrap_or(FRAME_TIME);
        }
        self.elapsed
    }

    /// What went by until the last frame.
    pub(super) fn elapsed(&self) -> Duration {
        self.elapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_where_a_source_restarts_its_own() {
        let mut clock = Clock::default();
        let elapsed = [100, 101, 103, 103, 0, 1].map(|time| clock.advance(Duration::from_secs(time)).as_millis());
        assert_eq!(elapsed, [0, 1000, 3000, 3040, 3080, 4080]);
    }
}
