//! `test:` sources: `test:`, `test:ball`, `test:ball?frames=100&size=320x240&fps=30&live=true`.

use std::str::FromStr;

/// What `videotestsrc` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestPattern {
    /// One of the element's own names.
    pub pattern: String,
    /// How many frames; none for no end.
    pub frames: Option<u32>,
    /// Pixels.
    pub size: (u32, u32),
    /// Frames a second.
    pub fps: u32,
    /// Whether frames come at their time, as a camera's do.
    pub live: bool,
}

impl TestPattern {
    /// The caps that the pipeline asks for.
    pub(super) fn caps(&self) -> String {
        let (w, h) = self.size;
        format!("video/x-raw,format=I420,width={w},height={h},framerate={}/1", self.fps)
    }
}

impl FromStr for TestPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (pattern, options) = text.split_once('?').unwrap_or((text, ""));
        let pattern = if pattern.is_empty() { "ball" } else { pattern };
        let mut test = Self { pattern: pattern.to_owned(), frames: None, size: (640, 360), fps: 25, live: false };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            let number = |least: u32, most: u32| {
                let number = value.parse().ok().filter(|number| (least..=most).contains(number));
                number.ok_or_else(|| format!("{key}={value}: expected a number from {least} to {most}"))
            };
            match key {
                "frames" => test.frames = Some(number(1, i32::MAX as u32)?),
                "fps" => test.fps = number(1, 1000)?,
                "live" => {
                    test.live = value.parse().map_err(|_| format!("live={value}: expected true or false"))?;
                }
                "size" => {
                    let side = |text: &str| text.parse().ok().filter(|side| (1..=16384).contains(side));
                    let size = value.split_once('x').and_then(|(w, h)| Some((side(w)?, side(h)?)));
                    test.size = size.ok_or_else(|| format!("size={value}: expected WIDTHxHEIGHT"))?;
                }
                _ => {
                    let known = ["frames", "size", "fps", "live"];
                    let hint = blocks::strict::nearest(key, known.into_iter());
                    let hint = hint.map_or(String::new(), |near| format!("; did you mean {near}?"));
                    return Err(format!("{key} is no option of test:, expected one of {}{hint}", known.join(", ")));
                }
            }
        }
        Ok(test)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_wrong_ones_named() {
        let test: TestPattern = "snow?frames=9&size=64x48&fps=30&live=true".parse().expect("valid");
        assert_eq!(
            (test.pattern.as_str(), test.frames, test.size, test.fps, test.live),
            ("snow", Some(9), (64, 48), 30, true)
        );
        assert_eq!("".parse::<TestPattern>().expect("valid").pattern, "ball");
        let error = |text: &str| text.parse::<TestPattern>().expect_err("wrong");
        assert_eq!(
            error("?frame=9"),
            "frame is no option of test:, expected one of frames, size, fps, live; did you mean frames?"
        );
        assert_eq!(error("?size=9"), "size=9: expected WIDTHxHEIGHT");
        assert_eq!(error("?fps=0"), "fps=0: expected a number from 1 to 1000");
    }
}
