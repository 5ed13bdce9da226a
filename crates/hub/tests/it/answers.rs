//! What is said when a model cannot be had.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hub::{Error, Found, Wanted};

use crate::server::{Asked, HubServer, Reply, SIGNATURE, Side};
use crate::support::{INDEX, Machine, Right, WEIGHTS, server, wanted, weights};

/// Whether this asks for the weights.
fn is_weights(asked: &Asked) -> bool {
    asked.path.contains("safetensors")
}

fn said(fault: impl Fn(&Asked, &Reply) -> Option<Reply> + Send + Sync + 'static) -> (String, HubServer) {
    let server = server();
    server.misbehave(fault);
    (Machine::new(server.address()).refused(&wanted()), server)
}

#[test]
fn refusals_say_what_they_mean() {
    let always = |status: u16, headers: &'static [(&'static str, &'static str)]| {
        move |_: &Asked, _: &Reply| Some(Reply::status(status, headers))
    };
    for (status, headers, means) in [
        (
            401,
            &[][..],
            "there is no such repository, or it is private, and the token that was given (HF_TOKEN) does not open it",
        ),
        (
            401,
            &[("X-Error-Code", "GatedRepo"), ("X-Error-Message", "Access is restricted")],
            "(Access is restricted): its owners want",
        ),
        (403, &[("X-Error-Code", "GatedRepo")], "its owners want their conditions accepted on its page first"),
        (403, &[], "it may not be read, and the token"),
        (404, &[("X-Error-Code", "RepoNotFound")], "there is no such repository"),
        (
            404,
            &[("X-Error-Code", "RevisionNotFound")],
            "there is no such revision, expected a branch, a tag or a commit",
        ),
        (404, &[], "has no config.json, expected a model"),
        (410, &[], "answers 410 Gone"),
    ] {
        let (said, server) = said(always(status, headers));
        assert!(said.starts_with("lab/model: ") && said.contains(means), "{status}: {said}");
        assert_eq!(server.asked().len(), 1, "{status}: it is asked once");
    }
}

#[test]
fn who_has_no_token_is_told_of_it() {
    let server = server();
    let mut machine = Machine::new(server.address());
    machine.settings.token = None;
    let other = Wanted::of("lab/other").expect("a repository");
    let said = machine.refused(&other);
    assert!(
        said.contains("answers 401") && said.ends_with("HF_TOKEN, which would open a private one, is not set"),
        "{said}"
    );
    machine.fetch().expect("what is public comes");
    assert!(server.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[test]
fn a_hub_that_is_busy_is_asked_later() {
    // The wait of its own would never end: the server's is kept.
    let server = server();
    let left = AtomicUsize::new(2);
    server.misbehave(move |_, _| {
        let busy = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        busy.then(|| Reply::status(429, &[("Retry-After", "0")]))
    });
    let mut machine = Machine::new(server.address());
    (machine.patience.first_wait, machine.patience.longest_wait) = (Duration::MAX, Duration::MAX);
    machine.fetch().expect("fetched");

    let (said, server) = said(|_, _| Some(Reply::status(429, &[("Retry-After", "3600")])));
    assert!(said.contains("answers 429 Too Many Requests, and wants to be left alone for 3600 s"), "{said}");
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_hub_that_is_ill_is_asked_a_few_times() {
    for status in [500, 502, 503, 504] {
        let (said, server) = said(move |_, _| Some(Reply::status(status, &[])));
        assert!(said.contains(&format!("answers {status} ")) && said.ends_with("; tried 3 times"), "{said}");
        assert_eq!(server.asked().len(), 3);
    }
    let server = server();
    let left = AtomicUsize::new(2);
    server.misbehave(move |asked, _| {
        let ill = asked.side == Side::Cdn
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        ill.then(|| Reply::status(503, &[]))
    });
    Machine::new(server.address()).fetch().expect("fetched");
}

#[test]
fn a_web_page_is_no_file() {
    let means = "answers with a web page where";
    let (at_the_hub, _) = said(|_, _| Some(Reply::page()));
    assert!(at_the_hub.contains(means) && at_the_hub.contains("config.json"), "{at_the_hub}");
    let (at_the_end, server) = said(|asked, _| (asked.side == Side::Cdn).then(Reply::page));
    assert!(at_the_end.contains(means) && at_the_end.contains(WEIGHTS), "{at_the_end}");
    assert_eq!(server.downloads().len(), 1);
    let (by_a_way, _) = said(|asked, _| match asked.path.as_str() {
        "/login" => Some(Reply::page()),
        _ => Some(Reply::status(302, &[("Location", "/login")])),
    });
    assert!(by_a_way.contains(means), "{by_a_way}");
}

#[test]
fn nobody_answers() {
    // Nothing listens at a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let machine = Machine::new(&format!("http://127.0.0.1:{port}"));
    let said = machine.refused(&wanted());
    assert!(said.starts_with(&format!("lab/model: 127.0.0.1:{port} cannot be reached (")), "{said}");
    assert!(
        said.contains("refused") && said.contains("tried 3 times; without a network, copy config.json, "),
        "{said}"
    );
    let place = machine.settings.cache.join("lab--model").display().to_string();
    assert!(said.ends_with(&format!("of http://127.0.0.1:{port}/lab/model into {place}")), "{said}");

    let server = server();
    server.misbehave(|_, _| Some(Reply::Silence));
    let mut machine = Machine::new(server.address());
    machine.patience.silence = Duration::from_millis(20);
    let said = machine.refused(&wanted());
    assert!(said.contains("does not answer within 0.02 s; tried 3 times; without a network"), "{said}");
}

#[test]
fn a_machine_that_is_offline_asks_nobody() {
    let server = server();
    let mut machine = Machine::new(server.address());
    machine.settings.offline = true;
    let error = machine.fetch().expect_err("not there");
    assert!(matches!(error, Error::Unreachable { .. }));
    assert!(error.to_string().contains("HF_HUB_OFFLINE is set; without a network, copy config.json"), "{error}");
    assert!(server.asked().is_empty());
}

#[test]
fn what_is_no_model_is_refused_before_its_weights_come() {
    let refused = |change: &dyn Fn(&HubServer)| {
        let server = server();
        change(&server);
        let machine = Machine::new(server.address());
        let said = machine.refused(&wanted());
        assert!(server.downloads().is_empty(), "{said}");
        // Nor is an index kept, which is no weights.
        assert_eq!(machine.cache().find(&wanted().repository), Found::Absent, "{said}");
        said
    };
    let said = refused(&|server| server.remove("config.json"));
    assert_eq!(said, "lab/model: has no config.json, expected a model as Hugging Face's library writes it");
    let said = refused(&|server| server.put("config.json", b"{\"model_type\": \"bert\"}", false));
    assert_eq!(said, "lab/model: config.json: {\"model_type\": \"bert\"} is of another architecture");
    let said = refused(&|server| server.put("config.json", b"\xff\xfe", false));
    assert_eq!(said, "lab/model: config.json is no text");
    let said = refused(&|server| server.remove(WEIGHTS));
    assert!(
        said.contains("has neither model.safetensors nor model.safetensors.index.json: weights in other formats"),
        "{said}"
    );
    let said = refused(&|server| {
        server.remove("tokenizer.json");
        server.remove("vocab.txt");
    });
    assert_eq!(said, "lab/model: has neither tokenizer.json nor vocab.txt");
    let said = refused(&|server| {
        server.remove(WEIGHTS);
        server.put(INDEX, br#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}"#, false);
        server.put("m-1.safetensors", &weights(10, 1), true);
    });
    assert!(said.contains("lacks m-2.safetensors, which model.safetensors.index.json names"), "{said}");
    let said = refused(&|server| {
        server.remove(WEIGHTS);
        server.put(INDEX, br#"{"weight_map": {"a": "../../secret"}}"#, false);
    });
    assert!(said.contains("names the file \"../../secret\", expected names of .safetensors files beside it"), "{said}");
}

#[test]
fn what_does_not_fit_the_disk_is_not_begun() {
    let (said, server) = said(|asked, usual| match usual.clone() {
        Reply::Answer { status: 302, headers, body } if is_weights(asked) => {
            let headers = headers.into_iter().filter(|(name, _)| name != "X-Linked-Size");
            let headers = headers.chain([("X-Linked-Size".to_owned(), (1u64 << 60).to_string())]).collect();
            Some(Reply::Answer { status: 302, headers, body })
        }
        _ => None,
    });
    assert!(
        said.contains("needs 1153 PB in ") && said.ends_with("are free; SPOTTER_HOME names another place"),
        "{said}"
    );
    assert!(server.downloads().is_empty());
}

#[test]
fn what_cannot_be_written_is_said() {
    let server = server();
    let machine = Machine::new(server.address());
    std::fs::create_dir_all(machine.part()).expect("a folder where the file should be");
    let said = machine.refused(&wanted());
    assert!(said.starts_with("cannot create ") && said.contains("model.safetensors.part: Is a directory"), "{said}");
}

#[test]
fn what_is_found_wrong_at_the_end_is_dropped() {
    let server = server();
    let machine = Machine::new(server.address());
    let accept = Right { complaint: Some("tensor x is missing".into()), ..Right::default() };
    let error = machine.fetch_as(&wanted(), &accept).expect_err("refused");
    assert_eq!(error.to_string(), "lab/model: tensor x is missing");
    machine.expect_nothing();
    assert!(!machine.part().parent().expect("a folder").exists());
}

#[test]
fn ways_without_end_and_to_nowhere_are_told() {
    let (said, server) = said(|asked, _| Some(Reply::status(302, &[("Location", &format!("{}x", asked.path))])));
    assert!(said.ends_with("leads from one place to the next without end"), "{said}");
    assert_eq!(server.asked().len(), 8);
    let (said, _) = self::said(|_, _| Some(Reply::status(302, &[])));
    assert!(said.ends_with("answers 302 Found without a place to go to"), "{said}");
    // The second server's refusal is its own, and what its address is signed with stays unsaid.
    let (said, _) = self::said(|asked, _| (asked.side == Side::Cdn).then(|| Reply::status(403, &[])));
    assert!(said.contains("answers 403 Forbidden") && !said.contains(SIGNATURE), "{said}");
}
