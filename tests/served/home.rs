//! What `examples/home/` holds, against the programs that will read it.

use std::net::TcpStream;
use std::process::{Command, Stdio};

use super::{PATIENCE, Service};
use crate::notify::mqtt::Client;
use crate::support::servers::{Peer, Server, free_port};
use crate::support::{Scratch, aloud, bikes, command, repository, spotter, tool, until};

/// Where the service finds passwords.
const CREDENTIALS: &str = "/run/credentials/spotter-home.service";

fn example(name: &str) -> String {
    std::fs::read_to_string(repository().join("examples/home").join(name)).expect("read")
}

#[test]
fn its_settings_are_taken_also_with_what_is_commented_out() {
    let scratch = Scratch::new();
    for name in ["camera-login", "mqtt-login", "phone-key"] {
        scratch.write(name, b"me:a word of mine\n");
    }
    let text = example("driveway.toml").replace(CREDENTIALS, scratch.path().to_str().expect("UTF-8"));
    let (before, commented) = text.split_once("# A web server of your own:\n").expect("there");
    let more: String = commented.lines().flat_map(|line| [line.trim_start_matches("# "), "\n"]).collect();
    for text in [text.clone(), format!("{before}{more}")] {
        let file = scratch.write("driveway.toml", text.as_bytes());
        let ran = command(&["check", &file]).current_dir(scratch.path()).env("HOME", scratch.path()).output();
        let ran = ran.expect("starts");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
}

/// A broker with the example's settings and these users, on another port, until it goes.
fn broker(scratch: &Scratch, port: u16, users: &[(&str, &str)]) -> Peer {
    let folder = repository().join("target/mosquitto");
    assert!(folder.exists(), "{} is not there (make peers)", folder.display());
    let of_mosquitto = |program: &str| {
        let mut command = Command::new(folder.join(program));
        command.env("LD_LIBRARY_PATH", &folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let passwords = scratch.write("passwords", b"");
    for (user, password) in users {
        let made = of_mosquitto("mosquitto_passwd").args(["-b", &passwords, user, password]).status();
        assert!(made.expect("starts").success());
    }
    let text = example("mosquitto.conf").replace("1883", &port.to_string());
    let text = text.replace("/etc/mosquitto/passwords", &passwords);
    let settings = scratch.write("house.conf", format!("user root\n{text}").as_bytes());
    let broker = Peer(of_mosquitto("mosquitto").args(["-c", &settings]).spawn().expect("starts"));
    until("the broker", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).ok());
    broker
}

/// The way of its README.md, with a camera and a broker of this machine, and without systemd: logins as files, settings as they are
/// but for addresses, and what Home Assistant and any other client then see, also after the broker was away.
#[test]
fn the_house_hears_of_the_driveway() {
    let scratch = Scratch::new();
    let port = free_port();
    let users = [("spotter", "a word of mine"), ("homeassistant", "another word")];
    let at_home = broker(&scratch, port, &users);
    let camera = Server::camera(&bikes(), &[]);
    scratch.write("camera-login", b"me:nobody asks\n");
    scratch.write("mqtt-login", b"spotter:a word of mine\n");
    let text = example("driveway.toml")
        .replace(CREDENTIALS, scratch.path().to_str().expect("UTF-8"))
        .replace("rtsp://camera.lan/stream", &camera.address)
        .replace("127.0.0.1:1883", &format!("127.0.0.1:{port}"))
        .replace("127.0.0.1:9464", "127.0.0.1:0");
    let settings = scratch.write("driveway.toml", text.as_bytes());
    let state = scratch.path().join("state");
    std::fs::create_dir(&state).expect("made");
    let control = format!("unix:{}", scratch.file("control"));
    let mut run = command(&["run", "--config", &settings, "--control", &control]);
    run.current_dir(&state).env("STATE_DIRECTORY", &state);
    let service = Service::of(run);

    let topics = ["spotter/#", "homeassistant/#"];
    let house = Client::start_as(Some("homeassistant:another word"), port, "house", &topics);
    let mut wanted = vec![
        ("spotter/availability", "online"),
        ("spotter/driveway/availability", "online"),
        ("spotter/driveway/car/text", "a car"),
        ("spotter/driveway/visitor/text", "a person"),
    ];
    while !wanted.is_empty() {
        let seen = house.next("what is not there yet", |message| {
            wanted.iter().any(|(topic, text)| message.topic == *topic && message.payload == text.as_bytes())
        });
        wanted.retain(|(topic, _)| *topic != seen.topic);
    }
    // Who comes later has it all, the entity of the automation among it.
    let late = Client::start_as(Some("homeassistant:another word"), port, "late", &topics);
    let entity = "homeassistant/binary_sensor/spotter/driveway_visitor_state/config";
    late.next("the entity", |message| message.topic == entity);
    drop(at_home);
    let _at_home = broker(&scratch, port, &users);
    house.sees("spotter/availability", "online");
    let (status, _) = service.stop();
    assert!(status.success(), "{status}");
    house.sees("spotter/availability", "offline");
    let records = std::fs::read_to_string(state.join("driveway.jsonl")).expect("read");
    assert!(records.lines().any(|line| line.contains("\"source_up\"")), "{records}");
    let kept = state.join("sightings");
    spotter(&["sightings", "list", kept.to_str().expect("UTF-8")]).expect_success();
}

/// The automations are YAML, and name entities that there are.
#[test]
fn its_automations_name_our_entities() {
    let packages = repository().join("target/home-assistant");
    if !packages.exists() {
        aloud(&format!("SKIPPED: {} is not there (make peers, with Python 3.12 at most)", packages.display()));
        return;
    }
    let script = "import json, sys; sys.path.insert(0, sys.argv[1]); import yaml; \
                  print(json.dumps(yaml.safe_load(open(sys.argv[2]))))";
    let file = repository().join("examples/home/home-assistant.yaml");
    let text = tool("python3", &["-c", script, packages.to_str().expect("UTF-8"), file.to_str().expect("UTF-8")]);
    let parsed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(parsed["automation"].as_array().map(Vec::len), Some(2));
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
    let named: Vec<&str> = text.split(|c| !is_name(c)).filter(|word| word.contains(".spotter_")).collect();
    assert_eq!(named, ["binary_sensor.spotter_driveway_visitor_state", "image.spotter_driveway_visitor_snapshot"]);
    let settings = example("driveway.toml");
    assert!(settings.contains("id = \"driveway\"") && settings.contains("name = \"visitor\""));
}

#[test]
fn its_unit_is_one() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        aloud("SKIPPED: systemd-analyze is not there");
        return;
    }
    let scratch = Scratch::new();
    let unit = example("spotter-home.service").replace("/usr/local/bin/spotter", env!("CARGO_BIN_EXE_spotter"));
    let unit = scratch.write("spotter-home.service", unit.as_bytes());
    let output = Command::new("systemd-analyze").args(["verify", &unit]).output().expect("starts");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && !said.contains("spotter-home.service:"), "{said}");
}
