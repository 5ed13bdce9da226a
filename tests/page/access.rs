//! Who may see the page, and what those get who may not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use tungstenite::client::IntoClientRequest;

use super::{CAMERA, PATIENCE, ask, camera, encoded, get, head, place, send, served, tell};
use crate::served::Service;
use crate::support::{Scratch, command, repository, spotter, tool, until};

const PASSWORD: &str = "correct horse battery";
const TOKEN: &str = "0123456789abcdef0123456789abcdef-program";

/// What `spotter password` makes of a password.
fn hashed(password: &str) -> (Option<i32>, String, String) {
    let mut command = command(&["password"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    child.stdin.take().expect("piped").write_all(format!("{password}\n").as_bytes()).expect("taken");
    let output = child.wait_with_output().expect("ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A page that asks for the password, and for programs knows the token.
fn guarded(scratch: &Scratch) -> (Service, String) {
    let password = scratch.write("password", hashed(PASSWORD).1.as_bytes());
    let token = scratch.write("token", format!("{TOKEN}\n").as_bytes());
    served(&["--page-password", &password, "--page-token", &token])
}

#[test]
fn other_names_are_refused() {
    let (_service, place) = served(&["--page-host", "gate.example"]);
    let port = place.rsplit(':').next().expect("a port");
    let status = |host: &str| ask(&place, "GET", "/api/v1/streams", &[("Host", host)], "").status;
    for host in [place.as_str(), "localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8080", "192.0.2.7", "gate.example"] {
        assert_eq!(status(host), 200, "{host}");
    }
    let ported = format!("gate.example:{port}");
    assert_eq!(status(&ported), 200);
    for host in
        ["evil.example", &format!("evil.example:{port}"), "gate.example.evil.example", "", "127.0.0.1.evil.example"]
    {
        let answer = ask(&place, "GET", "/api/v1/streams", &[("Host", host)], "");
        assert_eq!(answer.status, 421, "{host:?}");
        assert!(answer.text().contains("--page-host"), "{}", answer.text());
        assert_eq!(ask(&place, "GET", "/", &[("Host", host)], "").status, 421, "{host:?}: the page itself");
    }
}

#[test]
fn other_pages_are_refused() {
    let (_service, place) = served(&[]);
    let own = format!("http://{place}");
    let change = |headers: &[(&str, &str)]| {
        let headers = [&[("Content-Type", "application/json")], headers].concat();
        ask(&place, "POST", "/api/v1/queries", &headers, &json!({ "query": "a red square" }).to_string()).status
    };
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "ftp://127.0.0.1"] {
        assert_eq!(change(&[("Origin", origin)]), 403, "{origin}");
        assert_eq!(ask(&place, "GET", "/api/v1/queries", &[("Origin", origin)], "").status, 403, "{origin}");
        let upgrade = [("Origin", origin), ("Upgrade", "websocket"), ("Connection", "upgrade")];
        let path = camera("/live");
        assert_eq!(ask(&place, "GET", &path, &upgrade, "").status, 403, "{origin}: a socket");
    }
    assert_eq!(change(&[("Sec-Fetch-Site", "cross-site")]), 403);
    assert_eq!(change(&[("Sec-Fetch-Site", "same-site")]), 403);
    assert_eq!(ask(&place, "GET", "/api/v1/health", &[("Sec-Fetch-Site", "cross-site")], "").status, 403);
    // A link to the page may stand anywhere.
    assert_eq!(ask(&place, "GET", "/", &[("Sec-Fetch-Site", "cross-site")], "").status, 200);
    // A form of another page can send only such bodies unasked.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let answer = ask(&place, "POST", "/api/v1/queries", &[("Content-Type", kind)], "{\"query\": \"a\"}");
        assert_eq!(answer.status, 415, "{kind}");
    }
    assert_eq!(change(&[("Origin", &own), ("Sec-Fetch-Site", "same-origin")]), 201);
}

#[test]
fn a_password_is_hashed_and_told_to_nobody() {
    let (code, hash, messages) = hashed(PASSWORD);
    assert_eq!(code, Some(0), "{messages}");
    assert!(hash.starts_with("$argon2id$") && !hash.contains(PASSWORD) && !messages.contains(PASSWORD), "{hash}");
    assert_ne!(hashed(PASSWORD).1, hash, "each has its own salt");
    let scratch = Scratch::new();
    let mut command = command(&["password", &scratch.file("page.password")]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("starts");
    child.stdin.take().expect("piped").write_all(PASSWORD.as_bytes()).expect("taken");
    assert!(child.wait().expect("ends").success());
    assert!(scratch.read("page.password").starts_with("$argon2id$"));
    let mode = std::fs::metadata(scratch.file("page.password")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others may not read it");
    let (code, hash, messages) = hashed("short");
    assert_eq!((code, hash.as_str()), (Some(2), ""));
    assert!(messages.contains("has 5 letters, expected 8 or more"), "{messages}");
}

#[test]
fn the_password_lets_in_and_nothing_else_does() {
    let scratch = Scratch::new();
    let (_service, place) = guarded(&scratch);
    let status = |headers: &[(&str, &str)]| ask(&place, "GET", "/api/v1/streams", headers, "").status;
    for path in ["/api/v1/streams", "/api/v1/health", "/api/v1/findings", "/api/v1/queries", "/stream/x.mjpg"] {
        let answer = get(&place, path);
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"spotter\"", "{path}");
    }
    assert_eq!(tell(&place, "POST", "/api/v1/queries", &json!({ "query": "a" })).status, 401);
    assert_eq!(get(&place, "/api/v1/session").json(), json!({ "asks": true, "in": false }));
    // What a browser needs to ask for the password.
    assert_eq!(get(&place, "/").status, 200);

    let program = format!("Bearer {TOKEN}");
    assert_eq!(status(&[("Authorization", &program)]), 200);
    assert_eq!(status(&[("Authorization", &program[..program.len() - 1])]), 401);
    assert_eq!(status(&[("Authorization", &format!("Bearer {PASSWORD}"))]), 401, "it is for the session alone");

    let entered = tell(&place, "POST", "/api/v1/session", &json!({ "password": PASSWORD }));
    assert_eq!(entered.status, 204, "{}", entered.text());
    let cookie = &entered.headers["set-cookie"];
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let session = cookie.split(';').next().expect("a cookie");
    assert_eq!(status(&[("Cookie", &format!("other=1; {session}"))]), 200);
    assert_eq!(status(&[("Cookie", &session[..session.len() - 1])]), 401);
    assert_eq!(ask(&place, "DELETE", "/api/v1/session", &[("Cookie", session)], "").status, 204);
    assert_eq!(status(&[("Cookie", session)]), 401, "who left is out");

    let enter = |password: &str| tell(&place, "POST", "/api/v1/session", &json!({ "password": password }));
    let wrong: Vec<u16> = (0..4).map(|number| enter(&format!("guess {number}")).status).collect();
    assert_eq!(wrong, [401, 401, 401, 429]);
    let right = enter(PASSWORD);
    assert_eq!(right.status, 429, "not even the right one");
    assert!(right.text().contains("try again in"), "{}", right.text());
    assert!(!right.headers.contains_key("set-cookie"));
}

#[test]
fn who_left_sees_nothing_more() {
    let scratch = Scratch::new();
    let (_service, place) = guarded(&scratch);
    let enter = || {
        let entered = tell(&place, "POST", "/api/v1/session", &json!({ "password": PASSWORD }));
        let cookie = entered.headers["set-cookie"].split(';').next().expect("a cookie").to_owned();
        let stream = TcpStream::connect(&place).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut request =
            format!("ws://{place}{}", camera("/live?video=mp4")).into_client_request().expect("a request");
        request.headers_mut().insert("cookie", cookie.parse().expect("a value"));
        (cookie, tungstenite::client(request, stream).expect("a socket").0)
    };
    let ((cookie, mut socket), (_other, mut others)) = (enter(), enter());
    let pictures = send(&place, "GET", &format!("/stream/{}.mjpg", encoded(CAMERA[1])), &[("Cookie", &cookie)], "");
    let events = send(&place, "GET", "/api/v1/findings", &[("Cookie", &cookie)], "");
    let readers = [pictures, events].map(|mut reader| {
        assert_eq!(head(&mut reader).0, 200);
        std::thread::spawn(move || reader.read_to_end(&mut Vec::new()).expect("ends, and is not broken off"))
    });
    assert!(socket.read().is_ok());
    let program = format!("Bearer {TOKEN}");
    let viewers = || ask(&place, "GET", "/api/v1/health", &[("Authorization", &program)], "").json()["viewers"].clone();
    assert_eq!(viewers(), 4);
    assert_eq!(ask(&place, "DELETE", "/api/v1/session", &[("Cookie", &cookie)], "").status, 204);
    while socket.read().is_ok_and(|message| !message.is_close()) {}
    for reader in readers {
        assert!(reader.join().expect("no panic") > 0);
    }
    until("all of them gone", PATIENCE, || (viewers() == 1).then_some(()));
    // Somebody else's session is another one.
    assert!(others.read().is_ok());
}

#[test]
fn no_path_leads_out_of_the_page() {
    let (_service, place) = served(&[]);
    for path in [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/assets/..%2f..%2fCargo.toml",
        "//etc/passwd",
        "/stream/..%2f..%2fetc%2fpasswd",
        "/stream/%2fetc%2fpasswd.mjpg",
        "/api/v1/streams/..%2f..%2fetc%2fpasswd",
        "/api/v1/../../Cargo.toml",
        "/main.js/..",
        "/%00",
    ] {
        let answer = get(&place, path);
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert!(!answer.text().contains("root:"), "{path}");
    }
    assert_eq!(get(&place, "/%ff").status, 400, "no UTF-8");
}

#[test]
fn every_answer_tells_browsers_what_they_may_do() {
    let (_service, place) = served(&[]);
    for path in ["/", "/main.js", "/style.css", "/icon.svg", "/nothing", "/api/v1/streams", "/api/v1/nothing"] {
        let headers = get(&place, path).headers;
        let policy = &headers["content-security-policy"];
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{path}: {policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains('*') && policy.contains("frame-ancestors 'none'"),
            "{path}"
        );
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(headers["cross-origin-resource-policy"], "same-origin", "{path}");
        let kept = headers["cache-control"].as_str();
        assert_eq!(
            kept,
            if path.starts_with("/api") || path == "/nothing" { "no-store" } else { "no-cache" },
            "{path}"
        );
        assert!(!headers.contains_key("access-control-allow-origin"), "{path}");
    }
    let first = get(&place, "/main.js");
    assert_eq!(first.headers["content-type"], "text/javascript; charset=utf-8");
    let again = ask(&place, "GET", "/main.js", &[("If-None-Match", &first.headers["etag"])], "");
    assert_eq!((again.status, again.body.len()), (304, 0));
}

#[test]
fn the_page_is_whole_and_needs_nobody_else() {
    let (_service, place) = served(&[]);
    let folder = repository().join("src/page/assets");
    let names: Vec<String> = std::fs::read_dir(folder)
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    assert!(names.len() > 5, "{names:?}");
    for name in &names {
        let path = if name == "index.html" { "/".to_owned() } else { format!("/{name}") };
        let answer = get(&place, &path);
        assert_eq!(answer.status, 200, "{name} is not served");
        let text = answer.text().replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("//cdn"), "{name}");
        let quoted = text.split(['\'', '"']).filter_map(|part| part.strip_prefix("./"));
        for import in quoted.filter(|part| Path::new(part).extension().is_some_and(|ending| ending == "js")) {
            assert!(names.iter().any(|other| other == import), "{name} imports {import}");
        }
    }
    let page = get(&place, "/").text();
    // The policy forbids what stands in the page itself.
    assert!(!page.contains("style=\"") && !page.contains("onclick") && page.matches("<script").count() == 1, "{page}");
}

#[test]
fn what_would_be_open_to_all_is_refused() {
    let scratch = Scratch::new();
    let refused = |flags: &[&str], reason: &str| {
        let ran = spotter(&[&["run"], &CAMERA[..], flags].concat());
        assert_eq!(ran.code, Some(2), "{flags:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(reason), "{flags:?}: {}", ran.stderr);
    };
    refused(&["--page", "0.0.0.0:0"], "other machines could look and ask without a password");
    refused(&["--page", "https://127.0.0.1:0"], "needs a certificate and its key in one PEM file");
    refused(&["--page", "ftp://127.0.0.1:0"], "ftp is no scheme of a page");
    refused(&["--page", "127.0.0.1"], "expected HOST:PORT");
    refused(&["--page-host", "a.example", "--out", "jsonl:-"], "--page-host: is for a page, and no --page is given");
    let plain = scratch.write("plain", b"secret password\n");
    refused(&["--page", "127.0.0.1:0", "--page-password", &plain], "holds no hash by Argon2");
    let hash = scratch.write("hash", hashed(PASSWORD).1.as_bytes());
    let short = scratch.write("short", b"short\n");
    let both = ["--page", "127.0.0.1:0", "--page-password", &hash, "--page-token", &short];
    refused(&both, "its first line has 5 letters, expected 32 or more");
}

#[test]
fn no_answer_holds_a_secret() {
    let scratch = Scratch::new();
    let token = scratch.write("token", format!("{TOKEN}\n").as_bytes());
    let hash = hashed(PASSWORD).1;
    let password = scratch.write("password", hash.as_bytes());
    let source = ["--source", "rtsp://me:s3cr3t-word@127.0.0.1:1/x", "--query", "a dog"];
    let page = ["--page", "127.0.0.1:0", "--page-token", &token, "--page-password", &password];
    let service = Service::start(&[&source[..], &page, &["--reconnect-interval", "100ms"]].concat());
    let place = place(&service);
    let program = format!("Bearer {TOKEN}");
    let read = |path: &str| ask(&place, "GET", path, &[("Authorization", &program)], "");
    // Until the lost camera is among the warnings.
    let health = crate::support::until("warning", super::PATIENCE, || {
        let health = read("/api/v1/health").json();
        health["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty()).then_some(health)
    });
    let all = [health.to_string(), read("/api/v1/streams").text(), read("/api/v1/queries").text()].concat();
    for secret in ["s3cr3t-word", TOKEN, PASSWORD, hash.trim()] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

#[test]
fn tls_is_spoken_with_the_certificate_of_rtsp() {
    let scratch = Scratch::new();
    let (key, pem) = (scratch.file("key.pem"), scratch.file("server.pem"));
    let subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "2"];
    let make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &pem];
    tool("openssl", &[&make[..], &subject].concat());
    let both = std::fs::read_to_string(&pem).expect("read") + &std::fs::read_to_string(&key).expect("read");
    let both = scratch.write("both.pem", both.as_bytes());
    let page = ["--out", "jsonl:-", "--page", "https://127.0.0.1:0", "--out-tls", &both];
    let service = Service::start(&[&CAMERA[..], &page].concat());
    let place = place(&service);
    let url = format!("https://{place}/api/v1/session");
    let script = "import ssl, sys, urllib.request as r; \
                  print(r.urlopen(sys.argv[1], context=ssl.create_default_context(cafile=sys.argv[2])).read().decode())";
    let said = tool("python3", &["-c", script, &url, &pem]);
    assert_eq!(said.trim(), "{\"asks\":false,\"in\":true}");
}
