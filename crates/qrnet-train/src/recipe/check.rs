//! What a recipe may hold: values that no run can be made from are named before anything starts.

use std::collections::BTreeSet;

use qrnet::config::CANVAS_STEP;

use super::phrases::has_words;
use super::{Recipe, SCENES};
use crate::augment::Augment;
use crate::data::Source;
use crate::error::{Error, Result};
use crate::objective::Term;
use crate::scenes::SceneSettings;

fn wrong_in(file: &str, key: &str, value: &dyn std::fmt::Debug, expected: &str) -> Result<()> {
    Err(Error::Recipe {
        recipe: file.to_owned(),
        key: key.to_owned(),
        value: format!("{value:?}"),
        expected: expected.to_owned(),
    })
}

impl Recipe {
    pub(super) fn check(&self, file: &str) -> Result<()> {
        let wrong = |key: &str, value: &dyn std::fmt::Debug, expected: &str| wrong_in(file, key, value, expected);
        if self.steps == 0 {
            return wrong("steps", &self.steps, "at least 1");
        }
        if self.batch == 0 || self.accumulate == 0 {
            return wrong("batch", &(self.batch, self.accumulate), "at least 1, as `accumulate`");
        }
        if !(0.0..1.0).contains(&self.ema) {
            return wrong("ema", &self.ema, "0 to below 1");
        }
        if !(self.optimiser.rate > 0.0 && self.optimiser.rate < 1.0) {
            return wrong("optimiser.rate", &self.optimiser.rate, "between 0 and 1");
        }
        self.check_numbers(&wrong)?;
        for augment in self.phase.iter().filter_map(|phase| phase.augment.as_ref()).chain(&self.augment) {
            check_augment(augment, &wrong)?;
        }
        let side = |length: &usize| *length > 0 && *length <= 4096 && length.is_multiple_of(CANVAS_STEP);
        if let Some(canvas) = self.canvases.iter().find(|canvas| !canvas.iter().all(side)) {
            return wrong("canvases", canvas, "width and height, multiples of 64 up to 4096");
        }
        if !(0.0..0.5).contains(&self.phrases.forget) {
            return wrong("phrases.forget", &self.phrases.forget, "0 to below 0.5");
        }
        let is_group = |group: &Vec<String>| group.len() > 1 && group.iter().all(|member| has_words(member));
        if let Some(group) = self.phrases.alike.iter().find(|group| !is_group(group)) {
            return wrong("phrases.alike", group, "two words or more that stand for each other");
        }
        if self.phase.is_empty() {
            return wrong("phase", &"missing", "at least one [[phase]]");
        }
        if self.phase.windows(2).any(|pair| pair[0].until >= pair[1].until) {
            let ends: Vec<f64> = self.phase.iter().map(|phase| phase.until).collect();
            return wrong("phase.until", &ends, "rising shares of the run");
        }
        if self.phase.iter().any(|phase| phase.examples == Some(0)) {
            return wrong("phase.examples", &0, "at least 1, or none for all");
        }
        if self.every.log == 0 || self.every.checkpoint == 0 || self.every.eval == 0 || self.every.keep == 0 {
            return wrong("every", &self.every, "at least 1 each");
        }
        let first = self.phase.iter().take(1);
        let own = self.phase.iter().skip(1).filter(|phase| phase.has_data());
        for phase in first.chain(own) {
            match (&phase.scenes, phase.lists.is_empty(), phase.shares.is_empty()) {
                (Some(scenes), true, _) | (Some(scenes), false, false) => check_scenes(scenes, "phase", &wrong)?,
                (None, false, _) => {}
                _ => return wrong("phase", &"both or neither", "either `scenes` or `lists`, or both with `shares`"),
            }
        }
        self.check_sets(file)?;
        self.check_mixes(&wrong)
    }

    /// What is measured on.
    pub(super) fn check_sets(&self, file: &str) -> Result<()> {
        let wrong = |key: &str, value: &dyn std::fmt::Debug, expected: &str| wrong_in(file, key, value, expected);
        for set in &self.eval {
            match (&set.scenes, set.lists.is_empty()) {
                (Some(scenes), true) => check_scenes(scenes, "eval", &wrong)?,
                (None, false) => {}
                _ => return wrong("eval", &"both or neither", "either `scenes` or `lists`"),
            }
        }
        Ok(())
    }

    /// Shares name what a phase draws from, and questions fill batches.
    fn check_mixes(&self, wrong: &Wrong) -> Result<()> {
        let (mut names, mut mixed, mut before) = (BTreeSet::new(), false, 1);
        for phase in &self.phase {
            let questions = phase.questions.unwrap_or(1);
            if questions == 0 || !self.batch.is_multiple_of(questions) {
                let expected = format!("a divisor of `batch`, which is {}", self.batch);
                return wrong("phase.questions", &questions, &expected);
            }
            if phase.has_data() {
                names = phase.lists.iter().map(Source::name).collect();
                if phase.scenes.is_some() && !names.insert(SCENES.to_owned()) {
                    return wrong("phase.lists.name", &SCENES, "another name: `shares` calls drawn scenes so");
                }
            }
            mixed = !phase.shares.is_empty() || (mixed && !phase.has_data());
            if !mixed && !phase.has_data() && questions != before {
                // Which picture comes when is counted in questions.
                return wrong(
                    "phase.questions",
                    &questions,
                    &format!("{before}, as in the phase whose data it goes on with"),
                );
            }
            before = questions;
            if mixed && phase.examples.is_some() {
                return wrong("phase.examples", &phase.examples, "none where `shares` mix sources");
            }
            if phase.shares.is_empty() {
                continue;
            }
            let known = || names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            if let Some(name) = phase.shares.keys().find(|name| !names.contains(*name)) {
                return wrong("phase.shares", name, &format!("names of what the phase draws from: {}", known()));
            }
            if let Some(name) = names.iter().find(|name| !phase.shares.contains_key(*name)) {
                return wrong("phase.shares", &phase.shares, &format!("a share of `{name}` too; 0 leaves it out"));
            }
            if let Some((name, share)) = phase.shares.iter().find(|(_, share)| !(0.0..=1e9).contains(*share)) {
                return wrong(&format!("phase.shares.{name}"), share, "a number from 0 to 1e9");
            }
            if phase.shares.values().all(|share| *share <= 0.0) {
                return wrong("phase.shares", &phase.shares, "at least one above 0");
            }
        }
        Ok(())
    }

    fn check_numbers(&self, wrong: &Wrong) -> Result<()> {
        let (o, s) = (&self.optimiser, &self.schedule);
        if self.batch > 65_536 || self.accumulate > 65_536 || self.steps > 1 << 40 {
            let given = (self.batch, self.accumulate, self.steps);
            return wrong("batch, accumulate, steps", &given, "up to 65536, 65536 and 2^40");
        }
        let settings = self.optimiser();
        if let Some(rate) = settings.rates.into_iter().find(|rate| !(0.0..1.0).contains(rate)) {
            return wrong("optimiser", &rate, "rates from 0 to below 1");
        }
        if let Some(decay) = settings.decay.into_iter().find(|decay| !(0.0..1.0).contains(decay)) {
            return wrong("optimiser.weight_decay, decay", &decay, "0 to below 1");
        }
        if ![o.betas.0, o.betas.1].iter().all(|beta| (0.0..1.0).contains(beta)) {
            return wrong("optimiser.betas", &o.betas, "two numbers from 0 to below 1");
        }
        if !(o.eps > 0.0 && o.eps < 1.0) {
            return wrong("optimiser.eps", &o.eps, "above 0, below 1");
        }
        if o.clip.is_some_and(|clip| !(clip > 0.0 && clip.is_finite())) {
            return wrong("optimiser.clip", &o.clip, "above 0; leave it out for no clipping");
        }
        if !(0.0..=1.0).contains(&s.last) || !(0.0..=1.0).contains(&s.factor) || s.every == 0 {
            let given = (s.last, s.factor, s.every);
            return wrong("schedule.last, factor, every", &given, "0 to 1, 0 to 1, at least 1");
        }
        let losses = Term::ALL.map(|term| self.loss.of(term));
        if let Some(weight) = losses.into_iter().find(|weight| !(weight.is_finite() && *weight >= 0.0)) {
            return wrong("loss", &weight, "weights from 0");
        }
        if let Some(phase) = self.phase.iter().find(|phase| !(phase.until > 0.0 && phase.until <= 1.0)) {
            return wrong("phase.until", &phase.until, "above 0, up to 1");
        }
        let mut names: Vec<&str> = self.eval.iter().map(|set| set.name.as_str()).collect();
        names.sort_unstable();
        if let Some([name, _]) = names.array_windows().find(|[a, b]| a == b) {
            return wrong("eval.name", name, "a name for each set, once");
        }
        if let Some(name) = names.iter().find(|name| name.is_empty() || name.contains(['/', '\\'])) {
            return wrong("eval.name", name, "a name that a file can have");
        }
        Ok(())
    }
}

/// Reports a key, its value and what was expected.
type Wrong<'a> = dyn Fn(&str, &dyn std::fmt::Debug, &str) -> Result<()> + 'a;

fn check_augment(augment: &Augment, wrong: &Wrong) -> Result<()> {
    if !(1.0..=16.0).contains(&augment.zoom) || !(0.0..=1.0).contains(&augment.lost) {
        return wrong("augment.zoom, lost", &(augment.zoom, augment.lost), "1 to 16, 0 to 1");
    }
    let [least, most] = augment.resize;
    if !(0.1 <= least && least <= most && most <= 16.0) {
        return wrong("augment.resize", &augment.resize, "least and most, 0.1 to 16");
    }
    if augment.resizes() && augment.zoom > 1.0 {
        return wrong("augment.zoom", &augment.zoom, "1, or no `resize`, which takes its place");
    }
    if !(0.0..=0.5).contains(&augment.stretch) {
        return wrong("augment.stretch", &augment.stretch, "0 to 0.5");
    }
    if !(0.0..=180.0).contains(&augment.hue) || !(0.0..=4.0).contains(&augment.gamma) {
        return wrong("augment.hue, gamma", &(augment.hue, augment.gamma), "0 to 180 degrees, 0 to 4");
    }
    let shares = [augment.grey, augment.soften, augment.noise, augment.jpeg];
    if !shares.iter().all(|share| (0.0..=1.0).contains(share)) {
        return wrong("augment.grey, soften, noise, jpeg", &shares, "0 to 1 each");
    }
    Ok(())
}

fn check_scenes(scenes: &SceneSettings, key: &str, wrong: &Wrong) -> Result<()> {
    let name = |field: &str| format!("{key}.scenes.{field}");
    let share = |value: f64| (0.0..=1.0).contains(&value);
    if !(32..=4096).contains(&scenes.side) {
        return wrong(&name("side"), &scenes.side, "32 to 4096 pixels");
    }
    if !(share(scenes.square) && share(scenes.shapes) && share(scenes.absent)) {
        let shares = (scenes.square, scenes.shapes, scenes.absent);
        return wrong(&name("square, shapes, absent"), &shares, "0 to 1 each");
    }
    if let Some([width, height]) = scenes.aspect
        && !((1..=64).contains(&width) && width <= 4 * height && height <= 4 * width)
    {
        return wrong(
            &name("aspect"),
            &[width, height],
            "width and height of up to 64, neither above four times the other",
        );
    }
    if !(2 <= scenes.objects[0] && scenes.objects[0] <= scenes.objects[1] && scenes.objects[1] <= 8) {
        return wrong(&name("objects"), &scenes.objects, "fewest and most, 2 to 8");
    }
    if !(0.05 <= scenes.sizes[0] && scenes.sizes[0] < scenes.sizes[1] && scenes.sizes[1] <= 0.6) {
        return wrong(&name("sizes"), &scenes.sizes, "smallest and largest, 0.05 to 0.6");
    }
    if !(1..=64).contains(&scenes.queries) {
        return wrong(&name("queries"), &scenes.queries, "1 to 64");
    }
    let k = &scenes.kinds;
    let weights = [k.name, k.attribute, k.position, k.ordinal, k.size, k.relation];
    if !weights.iter().all(|w| w.is_finite() && *w >= 0.0) || weights.iter().sum::<f64>() <= 0.0 {
        return wrong(&name("kinds"), &weights, "weights from 0, one of them above");
    }
    if !(1.0..=3.0).contains(&scenes.apart) {
        return wrong(&name("apart"), &scenes.apart, "1 to 3");
    }
    if !(share(scenes.clutter) && share(scenes.crowd)) {
        return wrong(&name("clutter, crowd"), &(scenes.clutter, scenes.crowd), "0 to 1 each");
    }
    if !(0.0..=1.0).contains(&scenes.print) {
        return wrong(&name("print"), &scenes.print, "0 to 1");
    }
    if scenes.styles.is_empty() && scenes.shapes < 1.0 {
        return wrong(&name("styles"), &scenes.styles, "art styles, where `shapes` leaves room for emoji");
    }
    Ok(())
}
