//! What sightings of a stream do with the steps of its stays: open ones begin, go on and end, and what of it may be told is.

use std::time::Duration;

use records::SightingChange;

use super::moment::Moment;
use super::open::{Open, Telling};
use super::settings::QuerySighting;
use super::stay::{Seen, Step};
use super::told::{Told, What, Who};
use super::zones::Move;
use super::{Sightings, Watched};
use crate::error::Result;

/// A sighting is told of as often, at most.
const UPDATES: Duration = Duration::from_secs(1);

impl Sightings {
    pub(super) fn end_all(&mut self, cause: &'static str, told: &mut Vec<Told>) -> Result<()> {
        let mut queries = std::mem::take(&mut self.queries);
        let outcome = queries.iter_mut().try_for_each(|query| {
            let steps = query.stays.end();
            self.follow(query, steps, cause, told)
        });
        self.queries = queries;
        outcome
    }

    /// Does what the stays of a query say.
    pub(super) fn follow(
        &mut self,
        query: &mut Watched,
        steps: Vec<Step>,
        cause: &'static str,
        told: &mut Vec<Told>,
    ) -> Result<()> {
        for step in steps {
            match step {
                Step::Start { key, seen } => {
                    let Some((first, rest)) = seen.split_first() else { continue };
                    self.count += 1;
                    let id = format!("{}.{}.{}", self.origin.run_id, self.origin.file_name, self.count);
                    let named = (id, self.origin.stream.as_str());
                    let mut open = Open::new(named, &query.asked.tracked.query, &self.settings, key, first);
                    self.see(&mut open, first);
                    for seen in rest {
                        self.see(&mut open, seen);
                    }
                    self.announce(&mut open, &query.asked.own, told)?;
                    query.open.push(open);
                }
                Step::Stay { key, seen } => {
                    let Some(open) = query.open.iter_mut().find(|open| open.key == key) else { continue };
                    for seen in &seen {
                        self.see(open, seen);
                    }
                    self.announce(open, &query.asked.own, told)?;
                }
                Step::End { key } => {
                    let Some(place) = query.open.iter().position(|open| open.key == key) else { continue };
                    let open = query.open.remove(place);
                    self.close(open, cause, told)?;
                }
            }
        }
        Ok(())
    }

    /// A thing is seen on another frame.
    fn see(&mut self, open: &mut Open, seen: &Seen) {
        let moves = open.see(&self.settings, seen);
        self.moved(open, seen.object, moves);
    }

    /// Notes what a thing did.
    fn moved(&mut self, open: &mut Open, object: u64, moves: Vec<Move>) {
        for step in moves {
            let query = open.sighting.query.clone();
            let who = Who { sighting_id: open.sighting.id.clone(), query: query.clone(), object };
            open.waiting.push(match step {
                Move::Enter { zone, at } => {
                    let zone = self.settings.zones[zone].name.clone();
                    if !open.sighting.zones.contains(&zone) {
                        open.sighting.zones.push(zone.clone());
                        open.changed = true;
                    }
                    What::Enter { who, zone, at: at.at }
                }
                Move::Leave { zone, at, dwell } => {
                    What::Leave { who, zone: self.settings.zones[zone].name.clone(), at: at.at, dwell }
                }
                Move::Cross { line, at, to } => {
                    let counts = self.crossings.entry((line, query)).or_default();
                    counts.add(to);
                    What::Cross { who, line: self.settings.lines[line].name.clone(), at: at.at, to, counts: *counts }
                }
            });
        }
    }

    /// Tells the start of a sighting once it may be told, and what it did since then.
    fn announce(&mut self, open: &mut Open, own: &QuerySighting, told: &mut Vec<Told>) -> Result<()> {
        if open.telling == Telling::Waits {
            let required = &own.required_zones;
            if !required.is_empty() && !open.sighting.zones.iter().any(|zone| required.contains(zone)) {
                return Ok(());
            }
            let cooldown = own.cooldown.unwrap_or(self.settings.cooldown);
            let admitted = self.limits.admits(&open.sighting.query, cooldown, open.last);
            open.telling = if admitted { Telling::Told } else { Telling::Silent };
            open.sighting.path = open.path.points();
            if let Some(journal) = &mut self.journal {
                journal.begin(&open.sighting, !admitted)?;
            }
            told.push(Told::sighting(&open.sighting, SightingChange::Start, !admitted));
            (open.changed, open.told_at) = (false, open.last.elapsed);
        }
        self.tell_moves(open, told);
        Ok(())
    }

    fn tell_moves(&mut self, open: &mut Open, told: &mut Vec<Told>) {
        for what in std::mem::take(&mut open.waiting) {
            let silent = open.telling == Telling::Silent || !self.limits.admits_event(&open.sighting.query, open.last);
            told.push(Told { what, silent });
        }
    }

    /// Tells what is new about a sighting, not too often.
    pub(super) fn update(&mut self, open: &mut Open, now: Moment, told: &mut Vec<Told>) -> Result<()> {
        let is_due = open.changed && now.elapsed.saturating_sub(open.told_at) >= UPDATES;
        if open.telling == Telling::Waits || !is_due {
            return Ok(());
        }
        (open.changed, open.told_at) = (false, now.elapsed);
        open.sighting.path = open.path.points();
        let silent = open.telling == Telling::Silent || !self.limits.admits_event(&open.sighting.query, now);
        if let Some(journal) = &mut self.journal {
            journal.update(&open.sighting, open.telling == Telling::Silent)?;
        }
        told.push(Told::sighting(&open.sighting, SightingChange::Update, silent));
        Ok(())
    }

    fn close(&mut self, mut open: Open, cause: &'static str, told: &mut Vec<Told>) -> Result<()> {
        if open.telling == Telling::Waits {
            return Ok(());
        }
        let object = open.sighting.objects.last().copied().unwrap_or_default();
        let moves = open.visits.end(open.last);
        self.moved(&mut open, object, moves);
        self.tell_moves(&mut open, told);
        open.sighting.path = open.path.points();
        let silent = open.telling == Telling::Silent;
        if let Some(journal) = &mut self.journal {
            journal.end(&open.sighting, cause)?;
        }
        if !silent {
            self.limits.note(&open.sighting.query, self.now.unwrap_or(open.last));
        }
        told.push(Told::sighting(&open.sighting, SightingChange::End { cause }, silent));
        Ok(())
    }
}
