//! Frame accounting: every decoded frame is counted exactly once, and every measured one once for every query.

use serde::{Deserialize, Serialize};

use crate::track::FrameResult;
use crate::{FrameStatus, Query, QueryStatus};

/// What became of the frames of one source, over all its connections or of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameCounts {
    /// Frames that came out of the decoder.
    pub decoded: u64,
    /// Looked at by the model.
    pub measured: u64,
    /// Forwarded unmeasured.
    pub skipped: u64,
    /// Not forwarded.
    pub dropped: u64,
    /// Failed.
    pub error: u64,
}

impl FrameCounts {
    /// Counts one frame.
    pub fn add(&mut self, status: FrameStatus) {
        match status {
            FrameStatus::Measured => self.measured += 1,
            FrameStatus::Skipped => self.skipped += 1,
            FrameStatus::Dropped => self.dropped += 1,
            FrameStatus::Error => self.error += 1,
        }
    }

    /// Frames that were counted, whatever became of them.
    pub fn accounted(&self) -> u64 {
        self.measured + self.skipped + self.dropped + self.error
    }

    /// True when every decoded frame is accounted for.
    pub fn closed(&self) -> bool {
        self.decoded == self.accounted()
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            decoded: self.decoded - before.decoded,
            measured: self.measured - before.measured,
            skipped: self.skipped - before.skipped,
            dropped: self.dropped - before.dropped,
            error: self.error - before.error,
        }
    }
}

impl std::ops::AddAssign for FrameCounts {
    fn add_assign(&mut self, other: Self) {
        self.decoded += other.decoded;
        self.measured += other.measured;
        self.skipped += other.skipped;
        self.dropped += other.dropped;
        self.error += other.error;
    }
}

/// What was claimed of one query. Of frames that were measured for it, `boxed + absent`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryCounts {
    /// Name of the query.
    pub name: String,
    /// Measured frames on which it was found, or still is by an earlier one.
    #[serde(rename = "box")]
    pub boxed: u64,
    /// Measured frames on which it was not.
    pub absent: u64,
    /// Frames that carry a box of an earlier one.
    pub carried: u64,
}

/// Frames, and what was claimed of each query on them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Frames.
    pub frames: FrameCounts,
    /// By query, in the order in which they were first asked.
    pub queries: Vec<QueryCounts>,
}

impl Counts {
    /// Counts one frame; the parts of `result` stand in the order of `queries`.
    pub fn add<'a>(&mut self, result: &FrameResult, queries: impl IntoIterator<Item = &'a Query>) {
        self.frames.add(result.status);
        for (query, claim) in queries.into_iter().zip(&result.queries) {
            let counts = self.of(&query.name);
            counts.carried += u64::from(claim.carried());
            match (result.status, claim.status) {
                (FrameStatus::Measured, QueryStatus::Absent) => counts.absent += 1,
                (FrameStatus::Measured, _) => counts.boxed += 1,
                _ => {}
            }
        }
    }

    fn of(&mut self, name: &str) -> &mut QueryCounts {
        let place = self.queries.iter().position(|counts| counts.name == name).unwrap_or_else(|| {
            self.queries.push(QueryCounts { name: name.to_owned(), ..QueryCounts::default() });
            self.queries.len() - 1
        });
        &mut self.queries[place]
    }

    /// Measured frames with a box, over all queries.
    pub fn boxed(&self) -> u64 {
        self.queries.iter().map(|counts| counts.boxed).sum()
    }

    /// Measured frames without, over all queries.
    pub fn absent(&self) -> u64 {
        self.queries.iter().map(|counts| counts.absent).sum()
    }

    /// Frames that carry a box of an earlier one, over all queries.
    pub fn carried(&self) -> u64 {
        self.queries.iter().map(|counts| counts.carried).sum()
    }

    /// What came in since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let of = |counts: &QueryCounts| {
            let earlier = before.queries.iter().find(|earlier| earlier.name == counts.name);
            let earlier = earlier.cloned().unwrap_or_default();
            QueryCounts {
                name: counts.name.clone(),
                boxed: counts.boxed - earlier.boxed,
                absent: counts.absent - earlier.absent,
                carried: counts.carried - earlier.carried,
            }
        };
        Self { frames: self.frames.since(&before.frames), queries: self.queries.iter().map(of).collect() }
    }
}

impl std::ops::AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Self) {
        self.frames += other.frames;
        for QueryCounts { name, boxed, absent, carried } in &other.queries {
            let counts = self.of(name);
            counts.boxed += boxed;
            counts.absent += absent;
            counts.carried += carried;
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FrameCounts { decoded, measured, skipped, dropped, error } = self.frames;
        write!(f, "{decoded} frames: ")?;
        match self.queries.as_slice() {
            [] => write!(f, "{measured} measured, ")?,
            [QueryCounts { boxed, absent, .. }] => write!(f, "{boxed} box, {absent} absent, ")?,
            queries => {
                write!(f, "{measured} measured (")?;
                for (i, QueryCounts { name, boxed, absent, .. }) in queries.iter().enumerate() {
                    let comma = if i > 0 { "; " } else { "" };
                    write!(f, "{comma}{name}: {boxed} box, {absent} absent")?;
                }
                write!(f, "), ")?;
            }
        }
        write!(f, "{skipped} skipped, {dropped} dropped, {error} error")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::QueryResult;

    #[test]
    fn frames_and_queries_are_counted_apart() {
        let queries = [Query::of("a dog"), Query::of("a cat")];
        let claim = |status, measured| QueryResult { status, measured, ..QueryResult::default() };
        let result = |status, queries: [QueryResult; 2]| FrameResult { status, cause: None, queries: queries.into() };
        let mut counts = Counts::default();
        counts.frames.decoded = 2;
        let both = [claim(QueryStatus::Box, true), claim(QueryStatus::Absent, true)];
        counts.add(&result(FrameStatus::Measured, both), &queries);
        let none = [claim(QueryStatus::Carried, false), claim(QueryStatus::None, false)];
        counts.add(&result(FrameStatus::Skipped, none), &queries);
        assert!(counts.frames.closed());
        assert_eq!((counts.boxed(), counts.absent()), (1, 1));
        let text = counts.to_string();
        assert_eq!(
            text,
            "2 frames: 1 measured (a dog: 1 box, 0 absent; a cat: 0 box, 1 absent), 1 skipped, 0 dropped, 0 error"
        );
        let mut twice = counts.clone();
        twice += &counts;
        assert_eq!(twice.since(&counts), counts);
    }
}
