//! `/api/v1/session`: coming in and leaving.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HeaderValue, SET_COOKIE};
use hyper::{Method, Request};
use serde::Deserialize;
use serde_json::json;

use crate::page::Context;
use crate::page::reply::{Answer, Refusal, Reply, json as reply, nothing};
use crate::page::request::{Parameters, body};
use crate::page::routes::only;

/// What somebody says who wants to come in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    password: String,
}

/// # Errors
/// The password is wrong, or the request is.
pub(in crate::page) async fn answer(
    context: &Arc<Context>,
    from: IpAddr,
    request: Request<Incoming>,
    method: &Method,
) -> Answer {
    only(method, &[Method::GET, Method::POST, Method::DELETE])?;
    Parameters::of(&request, &[])?;
    let access = &context.access;
    if *method == Method::GET {
        let admission = access.admit(request.headers());
        let mut told = reply(json!({ "asks": access.asks(), "in": admission.is_some() }));
        // The page asks this first: who came back in time is given another cookie here.
        if let Some(cookie) = admission.and_then(|admission| admission.cookie) {
            told.headers_mut().insert(SET_COOKIE, cookie);
        }
        return Ok(told);
    }
    if *method == Method::DELETE {
        access.leave(request.headers());
        return with_cookie(nothing(), &access.cookie(""));
    }
    let Login { password } = body(request).await?;
    let session = access.enter(from, password).await?;
    with_cookie(nothing(), &access.cookie(&session))
}

fn with_cookie(mut reply: Reply, cookie: &str) -> Answer {
    let cookie = HeaderValue::from_str(cookie).map_err(|error| Refusal::bad(error.to_string()))?;
    reply.headers_mut().insert(SET_COOKIE, cookie);
    Ok(reply)
}
