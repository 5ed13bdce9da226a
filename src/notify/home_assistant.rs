//! What Home Assistant is told about us, so that it finds our entities by itself (its MQTT discovery).

use serde_json::{Value, json};

use super::board::{QueryState, StreamState};
use super::topics::{Topics, word};

/// The longest text that Home Assistant takes as a state.
const LONGEST_TEXT: usize = 255;

/// Topics and payloads for all entities of a stream: for each query whether it is there, how many there are, its best
/// picture, and its sentence, which may be changed where `commands` are taken. `prefix` is where Home Assistant listens.
pub(super) fn entities(
    prefix: &str,
    topics: &Topics,
    (stream, state): (&str, &StreamState),
    commands: bool,
) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (name, query) in &state.queries {
        for (component, what, mut config) in of_query(topics, stream, name, query, commands) {
            let id = format!("{}_{}_{what}", word(stream), word(name));
            let unique = format!("{}_{id}", topics.node());
            config["unique_id"] = unique.clone().into();
            config["object_id"] = unique.into();
            config["availability"] =
                json!([{ "topic": topics.availability() }, { "topic": topics.stream_availability(stream) }]);
            config["availability_mode"] = "all".into();
            config["device"] = json!({
                "identifiers": [format!("{}_{}", topics.node(), word(stream))],
                "name": stream, "manufacturer": "Spotter", "model": "Stream", "sw_version": env!("CARGO_PKG_VERSION"),
            });
            config["origin"] = json!({ "name": "Spotter", "sw_version": env!("CARGO_PKG_VERSION") });
            all.push((format!("{prefix}/{component}/{}/{id}/config", topics.node()), config));
        }
    }
    all
}

/// By component and what it tells.
fn of_query(
    topics: &Topics,
    stream: &str,
    name: &str,
    query: &QueryState,
    commands: bool,
) -> Vec<(&'static str, &'static str, Value)> {
    let topic = |what: &str| topics.query(stream, name, what);
    let mut all = vec![
        ("binary_sensor", "state", json!({ "name": name, "state_topic": topic("state"), "device_class": "occupancy" })),
        (
            "sensor",
            "count",
            json!({
                "name": format!("{name} count"), "state_topic": topic("count"), "state_class": "measurement",
                "icon": "mdi:counter",
            }),
        ),
        (
            "image",
            "snapshot",
            json!({
                "name": format!("{name} snapshot"), "image_topic": topic("snapshot"), "content_type": "image/jpeg",
            }),
        ),
    ];
    if commands && query.text.chars().count() <= LONGEST_TEXT {
        all.push((
            "text",
            "text",
            json!({
                "name": format!("{name} query"), "state_topic": topic("text"), "command_topic": topic("text/set"),
                "min": 1, "max": LONGEST_TEXT, "icon": "mdi:text-search", "entity_category": "config",
            }),
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entity_has_an_id_and_a_place_of_its_own() {
        let query = |text: &str| QueryState { text: text.into(), ..QueryState::default() };
        let queries = [("a car", query("a red car")), ("Hund", query(&"sehr ".repeat(60)))];
        let queries = queries.map(|(name, query)| (name.to_owned(), query)).into();
        let state = StreamState { up: true, queries };
        let all = entities("homeassistant", &Topics::new("spotter"), ("gate", &state), true);
        assert_eq!(all.len(), 7, "a sentence that is too long has no text entity");
        let places: Vec<&str> = all.iter().map(|(topic, _)| topic.as_str()).collect();
        assert!(places.contains(&"homeassistant/text/spotter/gate_a_car_text/config"), "{places:?}");
        let mut ids: Vec<&str> = all.iter().filter_map(|(_, config)| config["unique_id"].as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 7);
        let told = |config: &Value| config["availability"][0]["topic"] == "spotter/availability";
        assert!(all.iter().all(|(_, config)| told(config)));
        assert_eq!(entities("homeassistant", &Topics::new("spotter"), ("gate", &state), false).len(), 6);
    }
}
