//! Several processes and one cache. A test runs this program again for each of them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use crate::server::{Asked, HubServer, Reply, Side};
use crate::support::{Machine, Right, WEIGHTS, patience, server, trust, wanted, weights};

/// Names the hub, for a process that is to fetch from it.
const HUB: &str = "SPOTTER_TEST_HUB";
/// What such a process says.
const WAITS: &str = "waits for another process";

#[test]
#[ignore = "is what processes of other tests do"]
fn fetches_where_it_is_told_to() {
    let hub = std::env::var_os(HUB).expect("the hub");
    let environment = |name: &str| if name == "HF_ENDPOINT" { Some(hub.clone()) } else { std::env::var_os(name) };
    let settings = hub::Settings::of(&environment).expect("valid");
    let client = hub::Hub::with_patience(settings, trust(), patience()).expect("a client");
    let fetched = client.fetch(&wanted(), false, &Right::default(), &mut |event| {
        if event == hub::Event::OtherProcess {
            println!("\n{WAITS}");
        }
    });
    match fetched {
        Ok(fetched) => println!("\nfetched fresh={}", fetched.fresh),
        Err(error) => println!("\nfailed: {error}"),
    }
}

/// Such a process, begun by a shell after `first`; every line that it says goes to `told`.
fn process(server: &HubServer, machine: &Machine, first: &str, told: &SyncSender<String>) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{first}exec \"$0\" \"$@\"")]).arg(std::env::current_exe().expect("this program"));
    shell.args(["processes::fetches_where_it_is_told_to", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    shell.env(HUB, server.address()).env("SPOTTER_HOME", machine.home()).stdout(Stdio::piped());
    let mut child = shell.spawn().expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let told = told.clone();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| told.send(line)));
    child
}

/// The next line that begins so.
fn line(lines: &Receiver<String>, begins: &str) -> String {
    let mut before = Vec::new();
    while let Ok(line) = lines.recv_timeout(Duration::from_mins(2)) {
        if line.starts_with(begins) {
            return line;
        }
        before.push(line);
    }
    panic!("nothing begins with {begins:?}: {before:?}")
}

#[test]
fn two_processes_at_once_fetch_once_and_both_have_it() {
    let server = server();
    let machine = Machine::new(server.address());
    // The weights are held until the second process waits for the first.
    let (go, held) = sync_channel::<()>(0);
    let held = Mutex::new(held);
    server.misbehave(move |asked, _| {
        if asked.side == Side::Cdn {
            // An error says that nobody holds them any more.
            let _ = held.lock().expect("held").recv();
        }
        None
    });
    let (told, lines) = sync_channel(64);
    let children = [process(&server, &machine, "", &told), process(&server, &machine, "", &told)];
    line(&lines, WAITS);
    drop(go);
    let mut ends = [line(&lines, "fetched "), line(&lines, "fetched ")];
    ends.sort();
    assert_eq!(ends, ["fetched fresh=false", "fetched fresh=true"]);
    for mut child in children {
        assert!(child.wait().expect("ends").success());
    }
    assert_eq!(server.downloads().len(), 1);
}

#[test]
fn a_process_that_is_killed_leaves_a_beginning_and_no_lock() {
    let server = server();
    // The rest of the weights never comes.
    server.misbehave(|asked, usual| match usual.clone() {
        Reply::Answer { status: 200, headers, body } if asked.side == Side::Cdn => {
            Some(Reply::Stalled { status: 200, headers, body, after: 120_000 })
        }
        _ => None,
    });
    let machine = Machine::new(server.address());
    let (told, _lines) = sync_channel(64);
    let mut child = process(&server, &machine, "", &told);
    while std::fs::metadata(machine.part()).map_or(0, |part| part.len()) < 120_000 {
        assert!(child.try_wait().expect("its state").is_none(), "it waits for the rest");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("killed");
    child.wait().expect("ends");
    machine.expect_nothing();
    server.misbehave(|_, _| None);
    let path = machine.fetch().expect("fetched").path;
    assert_eq!(std::fs::read(path.join(WEIGHTS)).expect("read"), weights(300_000, 1));
    assert_eq!(server.downloads().iter().map(Asked::from).collect::<Vec<_>>(), [0, 120_000]);
}

/// What a file may not grow beyond fails like a disk that is full.
#[test]
fn a_disk_that_is_full_is_told() {
    let server = server();
    let machine = Machine::new(server.address());
    let (told, lines) = sync_channel(64);
    // In blocks of 512 bytes; without the signal, writing fails.
    let mut child = process(&server, &machine, "trap '' XFSZ; ulimit -f 200; ", &told);
    let said = line(&lines, "failed: ");
    assert!(said.contains("cannot write ") && said.contains("model.safetensors.part: File too large"), "{said}");
    assert!(child.wait().expect("ends").success());
    machine.expect_nothing();
    machine.fetch().expect("with room it comes");
    assert!(server.downloads()[1].from() > 0, "and goes on where it ended");
}
