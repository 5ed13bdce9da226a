//! Which frames are measured at all: every one, every Nth, or so many a second.

use gstreamer::ClockTime;

use super::Frame;

/// What the user allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Measure every this many frames, at least 1.
    pub stride: u64,
    /// Measure at most so many frames a second of the source's own time; above 0.
    pub max_fps: Option<f64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { stride: 1, max_fps: None }
    }
}

impl Sampling {
    /// True where some frames are left out.
    pub fn skips(&self) -> bool {
        self.stride > 1 || self.max_fps.is_some()
    }
}

/// Decides frame by frame.
pub(super) struct Sampler {
    sampling: Sampling,
    next_seq: u64,
    next_time: Option<ClockTime>,
    last_time: Option<ClockTime>,
}

/// Times are rounded to the containers' ticks, so a frame may seem to come this much early.
const SLACK: ClockTime = ClockTime::from_mseconds(2);

impl Sampler {
    pub(super) fn new(sampling: Sampling) -> Self {
        Self { sampling, next_seq: 0, next_time: None, last_time: None }
    }

    /// Why the frame is not to be measured; `None` where it is.
    pub(super) fn skips(&mut self, frame: &Frame) -> Option<&'static str> {
        if frame.seq < self.next_seq {
            return Some("stride");
        }
        if let (Some(most), Some(now)) = (self.sampling.max_fps, frame.stream_time) {
            let interval = ClockTime::from_nseconds((ClockTime::SECOND.nseconds() as f64 / most) as u64);
            // Time that stands still or jumps back, as after a splice or a reconnect, does not silence the stream.
            if self.last_time.replace(now).is_some_and(|last| now <= last) {
                self.next_time = None;
            }
            let next = self.next_time.filter(|next| *next <= now + interval);
            if next.is_some_and(|next| now + SLACK < next) {
                return Some("max-fps");
            }
            // The due times keep their own rhythm, so that 10 of 25 frames a second are 10 and not 8.
            let due = next.filter(|next| now < *next + interval).unwrap_or(now);
            self.next_time = Some(due + interval);
        }
        self.next_seq = frame.seq + self.sampling.stride;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::frame;
    use super::*;

    fn measured(sampling: Sampling, frame_ms: u64, count: u64) -> Vec<u64> {
        let mut sampler = Sampler::new(sampling);
        let at = |seq: u64| Frame { stream_time: Some(ClockTime::from_mseconds(frame_ms * seq)), ..frame(seq) };
        (0..count).filter(|seq| sampler.skips(&at(*seq)).is_none()).collect()
    }

    #[test]
    fn a_stride_takes_every_nth() {
        assert_eq!(measured(Sampling { stride: 4, max_fps: None }, 40, 12), [0, 4, 8]);
        assert_eq!(measured(Sampling::default(), 40, 3), [0, 1, 2]);
    }

    #[test]
    fn a_highest_rate_is_kept_on_average() {
        let of_a_second = |most: f64| measured(Sampling { stride: 1, max_fps: Some(most) }, 40, 25).len();
        assert_eq!((of_a_second(10.0), of_a_second(25.0), of_a_second(60.0), of_a_second(1.0)), (10, 25, 25, 1));
    }

    #[test]
    fn time_that_jumps_back_goes_on() {
        let mut sampler = Sampler::new(Sampling { stride: 1, max_fps: Some(5.0) });
        let at = |seq, ms| Frame { stream_time: Some(ClockTime::from_mseconds(ms)), ..frame(seq) };
        assert_eq!(sampler.skips(&at(0, 90_000)), None);
        assert_eq!(sampler.skips(&at(1, 90_040)), Some("max-fps"));
        assert_eq!(sampler.skips(&at(2, 0)), None);
    }
}
