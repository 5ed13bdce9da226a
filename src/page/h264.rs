//! H.264 as cameras send it, made ready for MP4: parameter sets stand aside, and every unit has its length before it (ISO/IEC
//! 14496-15, section 5). A set that changes among the pictures stays there: decoders take it from where it stands.

use gstreamer as gst;

/// Types of units that stand aside, or mean nothing in MP4: parameter sets and delimiters (ITU-T H.264, table 7-1).
const SEQUENCE: u8 = 7;
const PICTURE: u8 = 8;
const DELIMITER: u8 = 9;

/// Sets of one kind that a record can hold: five bits of sequences, eight of pictures.
const MOST: [usize; 2] = [31, 255];

/// What decoders have to know before the first picture: `AVCDecoderConfigurationRecord`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Config {
    record: Vec<u8>,
    /// The sets that stand in it, where they stood among the units.
    sets: Vec<Vec<u8>>,
}

impl Config {
    /// As it stands beside packets of these caps, or among the units of a key frame. None where it is not there.
    pub(super) fn of(caps: &gst::CapsRef, key_frame: &[u8]) -> Option<Self> {
        let structure = caps.structure(0)?;
        if let Ok(data) = structure.get::<gst::Buffer>("codec_data") {
            let data = data.map_readable().ok()?.to_vec();
            return (data.len() > 6).then_some(Self { record: data, sets: Vec::new() });
        }
        let [sequences, pictures] = [SEQUENCE, PICTURE].map(|kind| {
            let mut sets: Vec<&[u8]> = units(key_frame).filter(|unit| unit_type(unit) == kind).collect();
            // Cameras repeat them.
            sets.sort_unstable();
            sets.dedup();
            sets
        });
        let [profile, compatible, level] = sequences.first()?.get(1..4)?.try_into().ok()?;
        if pictures.is_empty() || sequences.len() > MOST[0] || pictures.len() > MOST[1] {
            return None;
        }
        // Lengths of four bytes; so many sets of each kind.
        let mut record = vec![1, profile, compatible, level, 0xff, 0xe0 | sequences.len() as u8];
        for (place, sets) in [&sequences, &pictures].into_iter().enumerate() {
            if place == 1 {
                record.push(sets.len() as u8);
            }
            for set in sets {
                record.extend(u16::try_from(set.len()).ok()?.to_be_bytes());
                record.extend(*set);
            }
        }
        let sets = sequences.into_iter().chain(pictures).map(<[u8]>::to_vec).collect();
        Some(Self { record, sets })
    }

    /// The record.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.record
    }

    /// How browsers call the codec (RFC 6381, section 3.3).
    pub(super) fn codec(&self) -> String {
        let [profile, compatible, level] = [1, 2, 3].map(|place| self.record.get(place).copied().unwrap_or_default());
        format!("avc1.{profile:02X}{compatible:02X}{level:02X}")
    }

    /// A packet as it stands in MP4.
    pub(super) fn sample(&self, caps: &gst::CapsRef, packet: &[u8]) -> Vec<u8> {
        let framing = caps.structure(0).and_then(|structure| structure.get::<&str>("stream-format").ok());
        if framing != Some("byte-stream") {
            return packet.to_vec();
        }
        let mut sample = Vec::with_capacity(packet.len() + 16);
        let known = |unit: &&[u8]| self.sets.iter().any(|set| set == unit);
        for unit in units(packet).filter(|unit| unit_type(unit) != DELIMITER && !known(unit)) {
            sample.extend(u32::try_from(unit.len()).unwrap_or(u32::MAX).to_be_bytes());
            sample.extend(unit);
        }
        sample
    }
}

/// Whether packets of these caps are H.264.
pub(super) fn is_h264(caps: &gst::CapsRef) -> bool {
    caps.structure(0).is_some_and(|structure| structure.name() == "video/x-h264")
}

fn unit_type(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |first| first & 0x1f)
}

/// Units between start codes (ITU-T H.264, annex B).
fn units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts: Vec<usize> =
        (0..stream.len().saturating_sub(3)).filter(|&at| stream[at..].starts_with(&[0, 0, 1])).collect();
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([stream.len()]).collect();
    starts.into_iter().zip(ends).filter_map(move |(start, end)| {
        let unit = &stream[start + 3..end];
        // Zeros before the next start code belong to that one.
        let length = unit.iter().rposition(|byte| *byte != 0)? + 1;
        Some(&unit[..length])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: [u8; 29] = [
        0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 0x64, 0, 0x1f, 0xac, 0, 0, 1, 0x68, 0xee, 0x3c, 0, 0, 0, 1, 0x65, 0x88,
        0x80, 7,
    ];

    fn caps(format: &str) -> gst::Caps {
        gst::init().expect("GStreamer starts");
        gst::Caps::builder("video/x-h264").field("stream-format", format).build()
    }

    #[test]
    fn units_lie_between_start_codes() {
        let found: Vec<&[u8]> = units(&STREAM).collect();
        let wanted: [&[u8]; 4] =
            [&[9, 0xf0], &[0x67, 0x64, 0, 0x1f, 0xac], &[0x68, 0xee, 0x3c], &[0x65, 0x88, 0x80, 7]];
        assert_eq!(found, wanted);
        assert_eq!(units(&[]).count() + units(&[0, 0]).count() + units(&[1, 2, 3, 4]).count(), 0);
    }

    #[test]
    fn parameter_sets_stand_aside() {
        let caps = caps("byte-stream");
        let config = Config::of(&caps, &STREAM).expect("there is one");
        assert_eq!(config.sample(&caps, &STREAM), [0, 0, 0, 4, 0x65, 0x88, 0x80, 7]);
        let wanted = [1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 5, 0x67, 0x64, 0, 0x1f, 0xac, 1, 0, 3, 0x68, 0xee, 0x3c];
        assert_eq!((config.bytes(), config.codec().as_str()), (&wanted[..], "avc1.64001F"));
        assert_eq!(Config::of(&caps, &STREAM[21..]), None, "a frame without them");
    }

    #[test]
    fn all_sets_are_told_once_and_one_that_changes_stays() {
        let caps = caps("byte-stream");
        let unit = |bytes: &[u8]| [&[0, 0, 1], bytes].concat();
        let (sequence, first, second) = (unit(&[0x67, 0x64, 0, 0x1f]), unit(&[0x68, 0xee]), unit(&[0x68, 0x5e]));
        let (picture, other) = (unit(&[0x65, 0x88]), unit(&[0x68, 0xea]));
        let key = [&sequence[..], &first, &second, &first, &picture].concat();
        let config = Config::of(&caps, &key).expect("there is one");
        let wanted = [1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 4, 0x67, 0x64, 0, 0x1f, 2, 0, 2, 0x68, 0x5e, 0, 2, 0x68, 0xee];
        assert_eq!(config.bytes(), wanted);
        let again = [&sequence[..], &second, &first, &picture].concat();
        assert_eq!(Config::of(&caps, &again), Some(config.clone()), "the same in another order");
        assert_eq!(config.sample(&caps, &again), [0, 0, 0, 2, 0x65, 0x88]);
        let changed = [&other[..], &picture].concat();
        assert_eq!(config.sample(&caps, &changed), [0, 0, 0, 2, 0x68, 0xea, 0, 0, 0, 2, 0x65, 0x88]);
    }

    #[test]
    fn what_is_ready_stays_as_it_is() {
        let mut caps = caps("avc");
        let record = gst::Buffer::from_slice([1u8, 0x42, 0xc0, 0x1e, 0xff, 0xe0, 0]);
        caps.make_mut().set("codec_data", &record);
        let config = Config::of(&caps, &[]).expect("it stands beside");
        assert_eq!(config.codec(), "avc1.42C01E");
        assert_eq!(config.sample(&caps, &[0, 0, 0, 1, 0x65]), [0, 0, 0, 1, 0x65]);
    }
}
