//! Which request is answered by what.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderValue, SET_COOKIE, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode};

use super::access::Admission;
use super::reply::{Answer, Refusal, Reply, harden, whole};
use super::request::{Parameters, path};
use super::{Context, api, assets, mjpeg};

/// The API, described.
const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// Answers a request, whatever it is.
pub(super) async fn answer(context: &Arc<Context>, from: IpAddr, request: Request<Incoming>) -> Reply {
    let mut reply = route(context, from, request).await.unwrap_or_else(Refusal::reply);
    if reply.status() == StatusCode::UNAUTHORIZED {
        reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"spotter\""));
    }
    harden(reply.headers_mut());
    reply
}

async fn route(context: &Arc<Context>, from: IpAddr, request: Request<Incoming>) -> Answer {
    let parts = path(request.uri().path())?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let is_asset = !matches!(parts[..], ["api" | "stream", ..]);
    context.access.check_sender(request.method(), request.headers(), is_asset)?;
    let method = match *request.method() {
        Method::HEAD => Method::GET,
        ref other => other.clone(),
    };
    if is_asset {
        only(&method, &[Method::GET])?;
        return assets::get(&parts.join("/"), request.headers());
    }
    if let ["api", "v1", open @ ("session" | "openapi.json")] = parts[..] {
        return open_route(context, from, request, &method, open).await;
    }
    let admission = context.access.admit(request.headers()).ok_or_else(|| {
        let reason = "a password is asked for: POST it to /api/v1/session, or send a token";
        Refusal::new(StatusCode::UNAUTHORIZED, reason)
    })?;
    let cookie = admission.cookie.clone();
    let mut reply = admitted(context, request, &method, &parts, admission).await.unwrap_or_else(Refusal::reply);
    if let Some(cookie) = cookie {
        reply.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(reply)
}

/// What is there for everybody.
async fn open_route(
    context: &Arc<Context>,
    from: IpAddr,
    request: Request<Incoming>,
    method: &Method,
    part: &str,
) -> Answer {
    if part == "session" {
        return api::session::answer(context, from, request, method).await;
    }
    only(method, &[Method::GET])?;
    Parameters::of(&request, &[])?;
    Ok(whole("application/json", Bytes::from_static(OPENAPI.as_bytes())))
}

/// What is there for those who were let in.
async fn admitted(
    context: &Arc<Context>,
    request: Request<Incoming>,
    method: &Method,
    parts: &[&str],
    admission: Admission,
) -> Answer {
    match parts {
        ["stream", file] => {
            only(method, &[Method::GET])?;
            Parameters::of(&request, &[])?;
            let name = file.strip_suffix(".mjpg").ok_or_else(|| Refusal::not_found(&format!("stream/{file}")))?;
            mjpeg::stream(context, name, admission)
        }
        ["api", "v1", rest @ ..] => api_route(context, request, method, rest, admission).await,
        _ => Err(Refusal::not_found(request.uri().path())),
    }
}

async fn api_route(
    context: &Arc<Context>,
    request: Request<Incoming>,
    method: &Method,
    parts: &[&str],
    admission: Admission,
) -> Answer {
    let reads = |known: &[&str]| {
        only(method, &[Method::GET])?;
        Parameters::of(&request, known)
    };
    match parts {
        ["health"] => {
            reads(&[])?;
            Ok(api::health::answer(context))
        }
        ["streams"] => {
            reads(&[])?;
            Ok(api::streams::list(context))
        }
        ["streams", name] => {
            reads(&[])?;
            api::streams::one(context, name)
        }
        ["streams", name, "live"] => {
            only(method, &[Method::GET])?;
            super::socket::open(context, name, request, admission)
        }
        ["streams", name, "places"] if *method == Method::GET => {
            reads(&[])?;
            api::places::read(context, name).await
        }
        ["streams", name, "places"] => {
            only(method, &[Method::GET, Method::PUT])?;
            api::places::write(context, name, request).await
        }
        ["streams", name, "picture.jpg"] => {
            reads(&[])?;
            api::streams::picture(context, name).await
        }
        ["findings"] => {
            let parameters = reads(&["stream"])?;
            api::findings::events(context, parameters.get("stream"), &admission)
        }
        ["queries"] if *method == Method::GET => {
            reads(&[])?;
            Ok(api::queries::list(context))
        }
        ["queries"] => {
            only(method, &[Method::GET, Method::POST])?;
            api::queries::add(context, request).await
        }
        ["sightings"] => {
            only(method, &[Method::GET])?;
            api::sightings::list(context, &request).await
        }
        ["sightings", id] => {
            reads(&[])?;
            api::sightings::one(context, id).await
        }
        ["sightings", id, "files", number] => {
            only(method, &[Method::GET])?;
            api::sightings::file(context, id, number, &request).await
        }
        ["queries", name] => {
            only(method, &[Method::PATCH, Method::DELETE])?;
            api::queries::edit(context, name, request, method).await
        }
        _ => Err(Refusal::not_found(request.uri().path())),
    }
}

/// Refuses other methods than these.
pub(super) fn only(method: &Method, expected: &[Method]) -> Result<(), Refusal> {
    if expected.contains(method) {
        return Ok(());
    }
    let expected: Vec<&str> = expected.iter().map(Method::as_str).collect();
    let reason = format!("method {method}: expected {}", expected.join(" or "));
    let allow = HeaderValue::from_str(&expected.join(", ")).ok();
    Err(Refusal { allow, ..Refusal::new(StatusCode::METHOD_NOT_ALLOWED, reason) })
}
