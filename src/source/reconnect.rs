//! Keeps one source running: waits for its end, watches for stalls, and connects again where a source can come back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, select};

use super::address::{Address, Kind};
pub use super::appsink::Counters;
use super::bus::Report;
use super::connection::Connection;
use super::fault::{self, Fault};
use super::rtsp::{Credentials, ServerInfo, Transport};
use super::{SourceSettings, Timing};
use crate::error::{Error, Result};
use crate::stage::{StageInput, StreamEvent};

/// How a source that was lost is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// How long to wait before the first attempt; doubles with every one that fails.
    pub interval: Duration,
    /// The longest wait.
    pub max_interval: Duration,
    /// After how many failed attempts in a row to give up; none for never.
    pub attempts: Option<u64>,
    /// The same where time alone mends nothing: the server refuses the login, has no such stream, or none that can be decoded.
    /// Doubles up to thirty times as long. Cameras lock accounts after a few wrong logins.
    pub refused_interval: Duration,
    /// How long a live source may give no frame.
    pub stall_timeout: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(30),
            attempts: None,
            refused_interval: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(10),
        }
    }
}

impl Reconnect {
    /// What holds after a failure that time alone does not mend.
    fn refused(&self) -> Self {
        Self { interval: self.refused_interval, max_interval: self.refused_interval * LONGEST_REFUSED, ..*self }
    }

    /// The wait before an attempt, counted from 1, without its jitter.
    fn wait(&self, attempt: u64) -> Duration {
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(31);
        self.interval.saturating_mul(1 << doublings).min(self.max_interval)
    }

    /// The same a little shorter by chance, so that many clients of one server do not all come back at once.
    pub(crate) fn jittered(&self, attempt: u64) -> Duration {
        const SHARE: f64 = 0.25;
        self.wait(attempt).mul_f64(1.0 - SHARE * rand::random::<f64>())
    }
}

/// How a source ended.
#[derive(Debug)]
pub struct Ended {
    /// Frames that came out of the decoder.
    pub decoded: u64,
    /// Why, where it did not end by itself and was not stopped.
    pub outcome: Result<()>,
}

/// How a connection ended.
enum ConnectionEnd {
    Stopped,
    End,
    Failed(Fault),
    /// No frame for so long.
    Stalled(Duration),
}

/// A source and where its frames go.
pub struct SourceLoop {
    /// The source.
    pub address: Address,
    /// How it is played.
    pub settings: SourceSettings,
    /// Where its frames go.
    pub frames: StageInput,
    /// The time that its connections and its output share.
    pub timing: Timing,
    /// What came out of it.
    pub counters: Arc<Counters>,
}

/// The longest wait of [`Reconnect::refused`], as a multiple of the first.
const LONGEST_REFUSED: u32 = 30;
/// How often a file with a login is looked at while its camera is not tried.
const LOOK: Duration = Duration::from_secs(1);
/// Reports that may wait; later ones say nothing new.
const REPORTS: usize = 16;
/// How often stalls are looked for.
const TICK: Duration = Duration::from_millis(250);
/// How long a pipe may give no frame: whoever writes into it may take its time, and closes it at the end.
const PIPE_STALL_TIMEOUT: Duration = Duration::from_hours(24);
/// How long a file may give no frame, the first or the next, while we wait for one.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for a file that is known to be cut short: its demuxer's complaint can get lost in a decoder bin.
const CUT_STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for one that is played at its own pace, where a frame may be far from the next.
const REALTIME_STALL_TIMEOUT: Duration = Duration::from_mins(10);

impl SourceLoop {
    /// Plays the source until it ends, fails for good, or `stop` is disconnected. A panic is a failure too.
    pub fn run(&self, stop: &Receiver<()>) -> Ended {
        let _span = tracing::info_span!("source", stream = self.address.name).entered();
        let played = catch_unwind(AssertUnwindSafe(|| {
            if self.address.comes_back() { Reconnecting::new(self).run(stop) } else { self.once(stop) }
        }));
        self.settings.rings().for_each(|ring| ring.close());
        let outcome = played.unwrap_or_else(|_| Err(Error::Worker("a source's thread panicked".into())));
        Ended { decoded: self.decoded(), outcome }
    }

    fn decoded(&self) -> u64 {
        self.counters.decoded()
    }

    fn connect(
        &self,
        settings: &SourceSettings,
        number: u64,
        stop: &Receiver<()>,
    ) -> Result<(Connection, Receiver<Report>)> {
        let (post, reports) = bounded(REPORTS);
        // A pipeline must not wait for us: we may be waiting for it to stop.
        let connection = Connection::open(self, settings, number, stop, move |report| drop(post.try_send(report)))?;
        Ok((connection, reports))
    }

    /// The failure with what else is known of it. A server that is asked again may take its time; nobody who wants the
    /// stream to end waits for it.
    fn explain(&self, server_info: &ServerInfo, fault: Fault, gave_frames: bool, stop: &Receiver<()>) -> Fault {
        let asked = fault.clone();
        let ask: Box<dyn FnOnce() -> Fault + Send> = match &self.address.kind {
            // It was supported until now: what came was damaged.
            Kind::Rtsp { .. } if gave_frames && fault.code == fault::CODEC_UNSUPPORTED => {
                return Fault { code: fault::CONNECTION_FAILED, ..fault };
            }
            Kind::Rtsp { uri, .. } => {
                let (server_info, uri) = (server_info.clone(), uri.clone());
                Box::new(move || server_info.explain(&uri, asked))
            }
            Kind::Mjpeg { .. } => {
                let address = self.address.clone();
                Box::new(move || Fault::new(asked.code, &address.explain(asked.reason)))
            }
            _ => return fault,
        };
        let (told, hear) = bounded(1);
        let thread = std::thread::Builder::new().name("explain".into());
        if thread.spawn(move || _ = told.send(ask())).is_err() {
            return fault;
        }
        select! {
            recv(hear) -> explained => explained.unwrap_or(fault),
            recv(stop) -> _ => fault,
        }
    }

    /// A file, or another source that does not come back.
    fn once(&self, stop: &Receiver<()>) -> Result<()> {
        let (mut connection, reports) = self.connect(&self.settings, 1, stop)?;
        // A file that is cut short is that first of all, however its demuxer takes it.
        let missing = self.address.truncation();
        let limit = match (missing.is_some(), self.settings.realtime) {
            _ if self.address.is_live() => self.settings.reconnect.stall_timeout,
            _ if matches!(self.address.kind, Kind::Pipe(_)) => PIPE_STALL_TIMEOUT,
            (_, true) => REALTIME_STALL_TIMEOUT,
            (true, false) => CUT_STALL_TIMEOUT,
            (false, false) => STALL_TIMEOUT,
        };
        let failed = |code: &'static str, reason: String| {
            let (code, reason) = match &missing {
                Some(missing) => ("SOURCE_TRUNCATED", missing.clone()),
                None => (code, reason),
            };
            Err(Error::Source { code, name: self.address.name.clone(), reason })
        };
        let (over, _) = until_over(&connection, &reports, stop, (limit, !self.address.is_live()));
        let outcome = match (over, connection.lacks_track()) {
            (ConnectionEnd::Stopped, _) => Ok(()),
            (_, Some(lacks)) => failed("SOURCE_NO_VIDEO", lacks),
            (ConnectionEnd::End, _) if connection.decoded() == 0 || missing.is_some() => {
                failed("SOURCE_NO_VIDEO", "ended without a video frame".into())
            }
            (ConnectionEnd::End, _) => connection.ended_early().map_or(Ok(()), |(code, reason)| failed(code, reason)),
            (ConnectionEnd::Failed(fault), _) => {
                tracing::debug!("source: {}", fault.reason);
                failed("SOURCE_FAILED", self.address.explain(fault.reason))
            }
            (ConnectionEnd::Stalled(limit), _) => {
                let decoded = connection.decoded();
                failed("SOURCE_TIMEOUT", format!("no frame for {} s after {decoded} frames", limit.as_secs()))
            }
        };
        connection.stop();
        outcome
    }
}

/// Until the connection ends, gives no frame for too long, or is not wanted any more; and since when it gives none. One
/// that has an end is asked where that is.
fn until_over(
    connection: &Connection,
    reports: &Receiver<Report>,
    stop: &Receiver<()>,
    (limit, has_end): (Duration, bool),
) -> (ConnectionEnd, Instant) {
    let mut progress = (connection.alive(), Instant::now());
    loop {
        select! {
            recv(stop) -> _ => return (ConnectionEnd::Stopped, Instant::now()),
            recv(reports) -> report => {
                let over = match report {
                    Ok(Report::Failed(fault)) => ConnectionEnd::Failed(fault),
                    Ok(Report::End) | Err(_) => ConnectionEnd::End,
                };
                return (over, Instant::now());
            }
            default(TICK) => {
                if has_end {
                    connection.note_duration();
                }
                let alive = connection.alive();
                if alive > progress.0 || connection.waits_for_us() {
                    progress = (alive, Instant::now());
                } else if progress.1.elapsed() > limit {
                    return (ConnectionEnd::Stalled(limit), progress.1);
                }
            }
        }
    }
}

/// A source that comes back.
struct Reconnecting<'a> {
    source: &'a SourceLoop,
    /// With the transport that is tried now.
    settings: SourceSettings,
    /// Failed attempts in a row; none while frames come.
    failed: u64,
    /// Of them, the last ones that failed for one reason that time alone does not mend, and which.
    refused: (u64, &'static str),
}

impl<'a> Reconnecting<'a> {
    fn new(source: &'a SourceLoop) -> Self {
        Self { source, settings: source.settings.clone(), failed: 0, refused: (0, "") }
    }

    fn run(mut self, stop: &Receiver<()>) -> Result<()> {
        let reconnect = self.source.settings.reconnect;
        for number in 1.. {
            let before = self.source.decoded();
            let (mut connection, reports) = self.source.connect(&self.settings, number, stop)?;
            let (over, since) = until_over(&connection, &reports, stop, (reconnect.stall_timeout, false));
            // Its frames are in the stage before anything is said of its end.
            connection.stop();
            let decoded = connection.decoded();
            if let Some(keep_alive) = connection.server_info.keep_alive() {
                self.settings.rtsp.keep_alive = keep_alive;
            }
            let fault = match over {
                ConnectionEnd::Stopped => return Ok(()),
                _ if connection.lacks_track().is_some() => {
                    Fault::new(fault::CODEC_UNSUPPORTED, &connection.lacks_track().unwrap_or_default())
                }
                ConnectionEnd::Failed(fault) if self.other_transport(&connection.server_info, &fault) => continue,
                ConnectionEnd::Failed(fault) => {
                    self.source.explain(&connection.server_info, fault, decoded > before, stop)
                }
                ConnectionEnd::End => Fault::new(fault::CONNECTION_FAILED, "the server ended the stream"),
                ConnectionEnd::Stalled(limit) => {
                    let seconds = limit.as_secs_f64();
                    Fault::new(fault::TIMEOUT, &format!("no frame for {seconds} s after {} frames", decoded - before))
                }
            };
            if decoded > before {
                (self.failed, self.refused) = (0, (0, ""));
            } else {
                // What it was before may be what it is again.
                self.settings.rtsp.transport = self.source.settings.rtsp.transport;
            }
            if !self.again(fault, since, stop)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// True where the same is to be tried at once by the other way.
    fn other_transport(&mut self, server_info: &ServerInfo, fault: &Fault) -> bool {
        let other = self.settings.rtsp.transport == Transport::Auto && server_info.transport_refused(fault);
        if other {
            tracing::info!("the server refuses TCP (461): trying UDP");
            self.settings.rtsp.transport = Transport::Udp;
        }
        other
    }

    /// Tells of the failure and waits for the next attempt; false where the stream is not wanted any more.
    fn again(&mut self, fault: Fault, since: Instant, stop: &Receiver<()>) -> Result<bool> {
        let decoded = self.source.decoded();
        let reconnect = self.source.settings.reconnect;
        let name = &self.source.address.name;
        let busy_camera = matches!(self.source.address.kind, Kind::Camera(_)) && decoded == 0;
        if busy_camera || reconnect.attempts.is_some_and(|most| self.failed >= most) {
            let reason = match self.failed {
                0 => fault.reason,
                failed => format!("{} (given up after {failed} attempts to reconnect)", fault.reason),
            };
            return Err(Error::Source { code: fault.code, name: name.clone(), reason });
        }
        // A path that there was may be there again soon.
        let lasts = fault.lasts() && (fault.code != fault::NOT_FOUND || decoded == 0);
        let wait = if lasts {
            let said = self.refused.1 == fault.code;
            self.refused = (if said { self.refused.0 + 1 } else { 1 }, fault.code);
            let wait = reconnect.refused().wait(self.refused.0);
            let seconds = wait.as_secs_f64();
            if said {
                tracing::debug!("{fault}; next attempt in {seconds:.1} s");
            } else {
                let longest = reconnect.refused_interval.saturating_mul(LONGEST_REFUSED);
                let longest = humantime::format_duration(longest);
                tracing::warn!("{fault}; next attempt in {seconds:.1} s, then rarer, up to {longest} apart");
            }
            wait
        } else {
            self.refused = (0, "");
            let wait = reconnect.jittered(self.failed + 1);
            tracing::warn!("{fault}; next attempt in {:.1} s", wait.as_secs_f64());
            wait
        };
        let event = match self.failed {
            0 => StreamEvent::GapStart { fault, decoded, since },
            attempt => StreamEvent::GapRetry { attempt, fault },
        };
        self.failed += 1;
        if self.source.frames.push_event(event, stop).is_err() {
            return Ok(false);
        }
        Ok(self.pause(wait, stop))
    }

    /// Waits, or until another login stands in the file; false where the stream is not wanted any more.
    fn pause(&self, wait: Duration, stop: &Receiver<()>) -> bool {
        let version = || self.settings.rtsp.login.as_ref().and_then(Credentials::version);
        let (began, before) = (Instant::now(), version());
        loop {
            let left = wait.saturating_sub(began.elapsed());
            if left.is_zero() {
                return true;
            }
            if stop.recv_timeout(left.min(LOOK)) != Err(RecvTimeoutError::Timeout) {
                return false;
            }
            if version() != before {
                tracing::info!("another login is given: trying it");
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let reconnect = Reconnect { max_interval: Duration::from_secs(10), ..Reconnect::default() };
        let waits: Vec<u64> = [1, 2, 3, 4, 5, 100, u64::MAX].map(|n| reconnect.wait(n).as_secs()).to_vec();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10, 10]);
        let refused: Vec<u64> = [1, 2, 5, 6, 7].map(|n| reconnect.refused().wait(n).as_secs()).to_vec();
        assert_eq!(refused, [30, 60, 480, 900, 900]);
        for attempt in 1..200 {
            let (wait, most) = (reconnect.jittered(attempt), reconnect.wait(attempt));
            assert!(wait <= most && wait >= most.mul_f64(0.75), "{wait:?} of {most:?}");
        }
    }
}
