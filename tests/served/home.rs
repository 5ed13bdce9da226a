//! What `examples/home/` holds, against the programs that will read it.

use std::net::TcpStream;
use std::process::{Command, Stdio};

use super::PATIENCE;
use crate::support::servers::{Peer, free_port};
use crate::support::{Scratch, aloud, command, repository, tool, until};

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

#[test]
fn its_broker_takes_its_settings() {
    let scratch = Scratch::new();
    let folder = repository().join("target/mosquitto");
    assert!(folder.exists(), "{} is not there (make peers)", folder.display());
    let port = free_port();
    let text = example("mosquitto.conf").replace("1883", &port.to_string());
    let text = text.replace("/etc/mosquitto/passwords", &scratch.write("passwords", b""));
    let settings = scratch.write("house.conf", format!("user root\n{text}").as_bytes());
    let mut broker = Command::new(folder.join("mosquitto"));
    broker.args(["-c", &settings]).env("LD_LIBRARY_PATH", &folder).stdin(Stdio::null());
    let broker = broker.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let _broker = Peer(broker);
    until("the broker", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).ok());
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
