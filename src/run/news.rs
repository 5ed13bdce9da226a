//! The line of what is to be told of a stream's sightings: each stands in it until the journal has it, and what belongs to it is
//! written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sightings::{Noted, Told};

/// Something to tell, with the picture that goes with it.
pub(super) struct News {
    pub(super) told: Told,
    /// A JPEG.
    pub(super) picture: Option<Arc<[u8]>>,
}

impl From<Told> for News {
    fn from(told: Told) -> Self {
        Self { told, picture: None }
    }
}

/// A place in the line.
struct Place {
    /// Of the job that it waits for; none where it waits for none.
    job: Option<u64>,
    /// What the journal has before it is told.
    noted: Option<Noted>,
    since: Instant,
    /// None where only the job matters.
    news: Option<News>,
}

/// Everything that is to be told, in its order.
#[derive(Default)]
pub(super) struct NewsLine {
    places: VecDeque<Place>,
}

/// Places at most; then the stream waits for the journal.
const LONGEST: usize = 4096;

impl NewsLine {
    /// News stand behind all others, until `job` is done and the journal has them.
    ///
    /// # Blocking
    /// Where 4096 wait already, and the first of them for the journal.
    pub(super) fn stand(&mut self, job: Option<u64>, noted: Option<Noted>, news: Option<News>) {
        if self.places.len() >= LONGEST
            && let Some(noted) = self.places.front().and_then(|place| place.noted.as_ref())
        {
            noted.wait(None);
        }
        self.places.push_back(Place { job, noted, since: Instant::now(), news });
    }

    /// The news that waited for a job, which is done. None where nobody waits for it any more.
    pub(super) fn done(&mut self, job: u64) -> Option<&mut Option<News>> {
        let place = self.places.iter_mut().find(|place| place.job == Some(job))?;
        place.job = None;
        Some(&mut place.news)
    }

    /// Nothing waits any longer for jobs that were asked for so long ago; gives the sighting of each, where it is of one.
    pub(super) fn give_up(&mut self, after: Duration) -> Vec<Option<String>> {
        let of = |place: &Place| place.news.as_ref()?.told.sighting_id().map(str::to_owned);
        let late = self.places.iter_mut().filter_map(|place| {
            let is_late = place.since.elapsed() >= after && place.job.take().is_some();
            is_late.then(|| of(place))
        });
        late.collect()
    }

    /// What can be told by now.
    pub(super) fn ready(&mut self) -> Vec<News> {
        let is_noted = |place: &Place| place.noted.as_ref().is_none_or(Noted::is_there);
        let count = self.places.iter().take_while(|place| place.job.is_none() && is_noted(place)).count();
        self.places.drain(..count).filter_map(|place| place.news).collect()
    }

    /// Waits until the journal has all that stands here, for so long at most where there is a limit. False where it does not by then, or
    /// never will.
    ///
    /// # Blocking
    /// While the disk is behind.
    pub(super) fn settle(&self, limit: Option<Duration>) -> bool {
        // They are written in their order.
        let last = self.places.iter().rev().find_map(|place| place.noted.as_ref());
        last.is_none_or(|noted| noted.wait(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sightings::What;

    fn news(number: i64) -> News {
        let what = What::Held { from_unix_ns: number, to_unix_ns: number, held: Vec::new() };
        Told { what, silent: false }.into()
    }

    fn numbers(news: &[News]) -> Vec<i64> {
        let number = |news: &News| match news.told.what {
            What::Held { from_unix_ns, .. } => from_unix_ns,
            _ => unreachable!("nothing else was told"),
        };
        news.iter().map(number).collect()
    }

    #[test]
    fn nobody_is_told_before_the_journal_has_it_and_all_in_order() {
        let (noted, write) = Noted::pending();
        let mut line = NewsLine::default();
        line.stand(None, None, Some(news(1)));
        line.stand(Some(7), Some(noted.clone()), Some(news(2)));
        line.stand(None, None, Some(news(3)));
        assert_eq!(numbers(&line.ready()), [1]);
        assert!(line.done(7).is_some() && line.done(7).is_none(), "a job is done once");
        assert_eq!(numbers(&line.ready()), [0; 0], "its files are there, and the journal has nothing");
        assert!(!line.settle(Some(Duration::ZERO)));
        line.stand(Some(8), Some(noted), Some(news(4)));
        assert_eq!(line.give_up(Duration::ZERO), [None], "of one job");
        assert_eq!(numbers(&line.ready()), [0; 0], "whatever became of its files");
        write();
        assert!(line.settle(None));
        assert_eq!(numbers(&line.ready()), [2, 3, 4]);
    }
}
