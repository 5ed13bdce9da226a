//! Models that come whole.

use std::sync::atomic::Ordering;

use hub::{Checked, Event, Found, Wanted};

use crate::server::{COMMIT, Reply, Side};
use crate::support::{INDEX, Machine, OWN, Right, TOKEN, WEIGHTS, pinned, repository, server, wanted, weights};

fn names(folder: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

const FILES: [&str; 6] =
    ["README.md", "config.json", WEIGHTS, "preprocessor_config.json", "spotter-fetch.json", "tokenizer.json"];

#[test]
fn a_model_comes_whole_once() {
    let server = server();
    let machine = Machine::new(server.address());
    let accept = Right::default();
    let (mut planned, mut seen) = (0, 0);
    let fetched = machine.hub().fetch(&wanted(), false, &accept, &mut |event| match event {
        Event::Plan { bytes } => planned = bytes,
        Event::Position { name: WEIGHTS, bytes } => seen = bytes,
        Event::Position { .. } => {}
        other => panic!("{other:?}"),
    });
    let fetched = fetched.expect("fetched");
    assert!(fetched.fresh && fetched.path == machine.settings.cache.join("lab--model"));
    assert_eq!(accept.folders.load(Ordering::Relaxed), 1);
    assert_eq!(names(&fetched.path), FILES, "the weights in another format and the second vocabulary stay there");
    assert_eq!(std::fs::read(fetched.path.join(WEIGHTS)).expect("read"), weights(300_000, 1));
    let manifest = fetched.manifest.expect("written");
    assert_eq!((manifest.commit.as_deref(), manifest.revision.as_str()), (Some(COMMIT), "main"));
    let of = |name: &str| manifest.files.iter().find(|file| file.name == name).expect("named");
    assert_eq!((of(WEIGHTS).checked, of("config.json").checked), (Checked::Hub, Checked::Length));
    assert_eq!(of("config.json").etag.as_ref().map(String::len), Some(40));
    assert_eq!((seen, planned), (300_000, manifest.files.iter().map(|file| file.bytes).sum::<u64>()));
    // Nothing is left aside, and nothing is asked for a second time.
    assert_eq!(names(&machine.settings.cache), [".locks", ".partial", "lab--model"]);
    assert_eq!(names(&machine.settings.cache.join(".partial")), Vec::<String>::new());
    let asked = server.asked().len();
    let again = machine.fetch().expect("there");
    assert!(!again.fresh && server.asked().len() == asked);
}

#[test]
fn the_token_goes_to_the_hub_alone_and_all_files_are_of_one_commit() {
    let server = server();
    let machine = Machine::new(server.address());
    machine.fetch().expect("fetched");
    let asked = server.asked();
    assert!(asked.iter().any(|asked| asked.side == Side::Cdn));
    for (place, asked) in asked.iter().enumerate() {
        let token = asked.header("authorization");
        let expected = (asked.side == Side::Hub).then(|| format!("Bearer {TOKEN}"));
        assert_eq!(token, expected.as_deref(), "{asked:?}");
        assert!(asked.header("user-agent").is_some_and(|name| name.starts_with("spotter/")));
        let named = asked.path.contains(COMMIT) || asked.side == Side::Cdn;
        assert!(named || (place == 0 && asked.path == "/lab/model/resolve/main/config.json"), "{asked:?}");
    }
}

/// Takes anything.
struct Any;

impl hub::Accept for Any {
    fn config(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn directory(&self, _: &std::path::Path) -> Result<(), String> {
        Ok(())
    }

    fn carry(&self, _: &std::path::Path, _: &std::path::Path) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn weights_may_lie_in_parts() {
    let server = server();
    server.remove(WEIGHTS);
    server.remove("tokenizer.json");
    server.put(INDEX, br#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}"#, false);
    server.put("m-1.safetensors", &weights(1000, 1), true);
    server.put("m-2.safetensors", &weights(2000, 2), true);
    let machine = Machine::new(server.address());
    let fetched = machine.fetch_as(&wanted(), &Any).expect("fetched");
    assert!(names(&fetched.path).contains(&"vocab.txt".to_owned()), "the tokenizer is a vocabulary here");
    assert_eq!(std::fs::read(fetched.path.join("m-2.safetensors")).expect("read"), weights(2000, 2));
    std::fs::remove_file(fetched.path.join("m-1.safetensors")).expect("removed");
    let found = machine.cache().find(&repository());
    assert_eq!(found, Found::Broken { path: fetched.path.clone(), lacks: vec!["m-1.safetensors".into()] });
    // What is broken is fetched anew.
    assert!(machine.fetch_as(&wanted(), &Any).expect("fetched").fresh);
    assert!(fetched.path.join("m-1.safetensors").is_file());
}

#[test]
fn an_update_takes_what_is_newer() {
    let server = server();
    let machine = Machine::new(server.address());
    let update = || machine.hub().fetch(&wanted(), true, &Right::default(), &mut |_| {}).expect("fetched");
    let first = update();
    let asked = server.downloads().len();
    assert!(first.fresh && !update().fresh);
    assert_eq!(server.downloads().len(), asked, "the commit is the same");
    let newer = "f".repeat(40);
    server.commit(&newer);
    server.put(WEIGHTS, &weights(1234, 9), true);
    assert!(!machine.fetch().expect("there").fresh, "nobody asked for newer ones");
    let second = update();
    assert!(second.fresh && second.path == first.path);
    assert_eq!(second.manifest.expect("written").commit, Some(newer));
    assert_eq!(std::fs::read(second.path.join(WEIGHTS)).expect("read"), weights(1234, 9));
    assert_eq!(names(&second.path), FILES);
    // One that fails leaves the old one as it is.
    server.commit(&"e".repeat(40));
    server.put("config.json", b"{\"model_type\": \"bert\"}", false);
    let error = machine.hub().fetch(&wanted(), true, &Right::default(), &mut |_| {}).expect_err("another architecture");
    assert!(error.to_string().contains("another architecture"), "{error}");
    assert_eq!(std::fs::read(second.path.join(WEIGHTS)).expect("read"), weights(1234, 9));
}

#[test]
fn an_update_waits_for_who_reads_and_keeps_what_somebody_added() {
    let server = server();
    let machine = Machine::new(server.address());
    let first = machine.fetch().expect("fetched");
    std::fs::write(first.path.join(OWN), "mine").expect("written");
    let old = std::fs::read(first.path.join(WEIGHTS)).expect("read");
    let (cache, mut waited) = (machine.cache(), 0);
    let mut held = cache.hold(&first.path);
    assert!(held.is_some() && cache.hold(&first.path).is_some(), "any number may read");
    assert!(cache.hold(machine.home()).is_none(), "no folder of the cache");
    server.commit(&"f".repeat(40));
    server.put(WEIGHTS, &weights(1234, 9), true);
    let second = machine.hub().fetch(&wanted(), true, &Right::default(), &mut |event| {
        if event == hub::Event::InUse {
            waited += 1;
            assert_eq!(std::fs::read(first.path.join(WEIGHTS)).expect("still there"), old);
            std::fs::write(first.path.join(OWN), "newer").expect("written");
            held = None;
        }
    });
    let second = second.expect("fetched");
    assert!(second.fresh && held.is_none() && waited == 1, "{waited}");
    assert_eq!(std::fs::read(second.path.join(WEIGHTS)).expect("read"), weights(1234, 9));
    assert_eq!(std::fs::read_to_string(second.path.join(OWN)).expect("kept"), "newer");
}

#[test]
fn a_revision_has_a_folder_of_its_own() {
    let server = server();
    let machine = Machine::new(server.address());
    let wanted = Wanted::of(&format!("lab/model@{COMMIT}")).expect("a repository");
    let fetched = machine.fetch_as(&wanted, &Right::default()).expect("fetched");
    assert_eq!(fetched.path, machine.settings.cache.join(format!("lab--model@{COMMIT}")));
    machine.expect_nothing_of_main();
}

#[test]
fn the_table_says_what_weights_have_to_be() {
    let server = server();
    let sum = blocks::files::hex(&<sha2::Sha256 as sha2::Digest>::digest(weights(300_000, 1)));
    let machine = Machine::new(server.address());
    let fetched = machine.fetch_as(&pinned(&sum), &Right::default()).expect("fetched");
    let manifest = fetched.manifest.expect("written");
    let file = manifest.files.iter().find(|file| file.name == WEIGHTS).expect("named");
    assert_eq!((file.checked, &file.sha256), (Checked::Table, &sum));
    // What is pinned and another on the hub is not even begun.
    let machine = Machine::new(server.address());
    let before = server.downloads().len();
    let said = machine.refused(&pinned(&"0".repeat(64)));
    assert!(said.contains(&format!("the hub says SHA-256 {sum}, the table of known models 0000")), "{said}");
    assert_eq!(server.downloads().len(), before);
}

#[test]
fn a_mirror_may_lead_to_another_hub_that_knows() {
    let server = server();
    let mirror = crate::server::HubServer::start(&[]);
    let to = server.address().to_owned();
    mirror.misbehave(move |asked, _| Some(Reply::status(308, &[("Location", &format!("{to}{}", asked.path))])));
    let machine = Machine::new(mirror.address());
    let fetched = machine.fetch().expect("fetched");
    assert_eq!(fetched.manifest.expect("written").commit.as_deref(), Some(COMMIT));
    assert!(
        server.asked().iter().all(|asked| asked.header("authorization").is_none()),
        "it is not the hub that is named"
    );
}

#[test]
fn what_somebody_copied_there_is_taken_and_listed_and_removed() {
    let nobody = "http://127.0.0.1:1";
    let machine = Machine::new(nobody);
    let folder = machine.cache().path(&repository());
    std::fs::create_dir_all(&folder).expect("made");
    for name in ["config.json", "tokenizer.json"] {
        std::fs::write(folder.join(name), "{}").expect("written");
    }
    let lacks = machine.cache().list().expect("listed");
    assert!(
        matches!(&lacks[..], [one] if matches!(&one.found, Found::Broken { lacks, .. } if lacks[0].starts_with(WEIGHTS)))
    );
    std::fs::write(folder.join(WEIGHTS), weights(10, 1)).expect("written");
    let fetched = machine.fetch().expect("nobody is asked");
    assert_eq!((fetched.path.as_path(), fetched.manifest, fetched.fresh), (folder.as_path(), None, false));
    let listed = machine.cache().list().expect("listed");
    assert_eq!((listed.len(), &listed[0].repository), (1, &repository()));
    assert!(matches!(listed[0].found, Found::Complete { bytes: 14, .. }), "{listed:?}");
    assert!(machine.cache().remove(&repository()).expect("removed"));
    assert!(!folder.exists() && machine.cache().list().expect("listed").is_empty());
    assert!(!machine.cache().remove(&repository()).expect("nothing to remove"));
}
