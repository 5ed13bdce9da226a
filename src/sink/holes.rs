//! What a place of results may hold in braces: `{source}` and `{time}`.

use gstreamer::glib;

use super::file_name;

/// The name of the stream.
pub(crate) const SOURCE: &str = "source";
/// When the run began, in UTC and where it runs.
const TIMES: [&str; 2] = ["time", "time:local"];

/// What people may call them.
const ALIKE: [(&str, &str); 13] = [
    ("date", "time"),
    ("datetime", "time"),
    ("now", "time"),
    ("timestamp", "time"),
    ("start", "time"),
    ("local", "time:local"),
    ("localtime", "time:local"),
    ("stream", SOURCE),
    ("camera", SOURCE),
    ("name", SOURCE),
    ("id", SOURCE),
    ("input", SOURCE),
    ("file", SOURCE),
];

/// When a run began, as its files are called.
pub(crate) struct StartTime {
    /// As in `20261125T184300Z`.
    utc: String,
    /// As in `20261125T194300`.
    local: String,
}

impl StartTime {
    /// Now.
    pub(crate) fn now() -> Self {
        let written = |time: Option<glib::DateTime>, as_: &str| {
            time.and_then(|time| time.format(as_).ok()).map(|text| text.to_string()).unwrap_or_default()
        };
        Self {
            utc: written(glib::DateTime::now_utc().ok(), "%Y%m%dT%H%M%SZ"),
            local: written(glib::DateTime::now_local().ok(), "%Y%m%dT%H%M%S"),
        }
    }
}

/// What stands in braces in `place`, letters and colons alone: other braces are the place's own.
fn holes(place: &str) -> impl Iterator<Item = &str> {
    let inner = |part: &'_ str| part.split_once('}').map(|(inner, _)| inner.len());
    place.split('{').skip(1).filter_map(move |part| {
        let hole = &part[..inner(part)?];
        let word = !hole.is_empty() && hole.chars().all(|c| c.is_ascii_alphabetic() || "_:-".contains(c));
        word.then_some(hole)
    })
}

/// Refuses a hole that nothing is known to fill.
///
/// # Errors
/// There is one; the message names it, and the nearest that there is.
pub(crate) fn check(place: &str) -> Result<(), String> {
    let known = [SOURCE, TIMES[0], TIMES[1]];
    let Some(hole) = holes(place).find(|hole| !known.contains(hole)) else { return Ok(()) };
    let meant = || known.into_iter().map(|name| (name, name)).chain(ALIKE);
    let word = hole.to_ascii_lowercase();
    let nearest = blocks::strict::nearest(&word, meant().map(|(word, _)| word)).unwrap_or(SOURCE);
    let nearest = meant().find(|(word, _)| *word == nearest).map_or(SOURCE, |(_, name)| name);
    let all = known.map(|name| format!("{{{name}}}")).join(", ");
    Err(format!("{{{hole}}} is not known; did you mean {{{nearest}}}? Known are {all}"))
}

/// Whether `place` is another one for every stream.
pub(crate) fn of_each(place: &str) -> bool {
    holes(place).any(|hole| hole == SOURCE)
}

/// Whether `place` is another one for every run, as long as clocks go forward.
pub(crate) fn of_a_time(place: &str) -> bool {
    holes(place).any(|hole| TIMES.contains(&hole))
}

/// `place` with the name of its stream, as far as a file can be called so, and the time.
pub(crate) fn fill(place: &str, source: &str, began: &StartTime) -> String {
    let filled = place.replace("{source}", file_name(source).trim_start_matches('.'));
    filled.replace("{time}", &began.utc).replace("{time:local}", &began.local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_filled_and_unknown_ones_named() {
        let began = StartTime { utc: "20261125T184300Z".into(), local: "20261125T194300".into() };
        assert_eq!(
            fill("{time}-{source}/{time:local}.mp4", "rtsp://cam/a", &began),
            "20261125T184300Z-rtsp___cam_a/20261125T194300.mp4"
        );
        assert!(of_each("x/{source}.mp4") && !of_each("x/{time}{1}.mp4"));
        assert!(of_a_time("x/{time:local}.mp4") && !of_a_time("x/{source}{1}.mp4"));
        for fine in ["a.mp4", "{source}", "{time:local}", "a{b", "{}", "{1..2}", "a}b"] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        let said = |place: &str| check(place).expect_err("unknown");
        assert_eq!(
            said("x{date}"),
            "{date} is not known; did you mean {time}? Known are {source}, {time}, {time:local}"
        );
        assert!(said("{sorce}.mp4").contains("did you mean {source}?"));
        assert!(said("{nme}.mp4").contains("did you mean {source}?"), "a name is its source's");
        assert!(said("{time:locl}").contains("did you mean {time:local}?"));
        let now = StartTime::now();
        assert_eq!((now.utc.len(), now.local.len()), (16, 15), "{} {}", now.utc, now.local);
    }
}
