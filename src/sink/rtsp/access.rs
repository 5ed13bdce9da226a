//! Who may watch, and how it is asked for.

use std::path::PathBuf;

use gio::prelude::*;
use gst::glib::translate::IntoGlib;
use gst_rtsp_server::prelude::*;
use gstreamer as gst;
use gstreamer_rtsp::RTSPAuthMethod;
use gstreamer_rtsp_server as gst_rtsp_server;

use super::RtspOut;
use crate::error::{Error, Result};
use crate::secrets::Login;

/// Who may watch what is served.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Names and passwords; without one, everybody who can connect.
    pub viewers: Vec<Login>,
    /// Certificate and key of `rtsps://`, in one PEM file.
    pub certificate: Option<PathBuf>,
    /// Whether other machines may watch without a password.
    pub anonymous: bool,
}

/// The role of whoever needs no password.
const ANYONE: &str = "anyone";

/// What a server needs to know whom to let in.
pub(super) struct AuthSetup {
    /// None where everybody may watch everything.
    pub(super) auth: Option<gst_rtsp_server::RTSPAuth>,
    /// The roles that may watch, by address.
    pub(super) roles: Vec<Vec<String>>,
    /// All that there are.
    pub(super) all_roles: Vec<String>,
}

impl Access {
    /// Refuses what would be open to everybody by mistake, or cannot be.
    ///
    /// # Errors
    /// Other machines could watch without a password and nobody said that they may, a password is empty, or TLS has no
    /// certificate that can be used.
    pub(crate) fn check(&self, out: &RtspOut) -> Result<()> {
        let fail = |reason: &str| Err(Error::Usage(format!("--out {out}: {reason}")));
        if out.is_public() && self.is_open(out) && !self.anonymous {
            return fail(
                "other machines could watch without a password; give one (--out-credentials, or SPOTTER_OUT_USER and \
                 SPOTTER_OUT_PASSWORD), or --allow-anonymous",
            );
        }
        if out.tls && self.certificate.is_none() {
            return fail("needs a certificate and its key in one PEM file, as in --out-tls server.pem");
        }
        if out.tls { self.certificate().map(drop) } else { Ok(()) }
    }

    /// Whether nobody is asked for a password.
    pub(crate) fn is_open(&self, out: &RtspOut) -> bool {
        self.viewers.is_empty() && out.login.is_none()
    }

    fn certificate(&self) -> Result<Option<gio::TlsCertificate>> {
        let Some(pem) = &self.certificate else { return Ok(None) };
        let fail = |reason: &str| Error::Usage(format!("--out-tls {}: {reason}", pem.display()));
        let expected = "expected a certificate and its key in PEM form";
        let certificate = gio::TlsCertificate::from_file(pem).map_err(|error| fail(&format!("{error}; {expected}")))?;
        if certificate.property::<Option<String>>("private-key-pem").is_none() {
            return Err(fail(&format!("holds no private key, {expected}")));
        }
        Ok(Some(certificate))
    }

    /// For a server with these addresses. Whoever is meant for all may watch everything; a login that stands in an address
    /// opens that one.
    ///
    /// # Errors
    /// The certificate cannot be read, or one name has two passwords.
    pub(super) fn auth_setup(&self, outs: &[&RtspOut]) -> Result<AuthSetup> {
        let mut logins: Vec<&Login> = self.viewers.iter().chain(outs.iter().filter_map(|o| o.login.as_ref())).collect();
        logins.sort_by_key(|login| &login.user);
        logins.dedup();
        if let Some(twice) = logins.windows(2).find(|pair| pair[0].user == pair[1].user) {
            let reason = "has two passwords at one port, expected one";
            return Err(Error::Usage(format!("--out {}: user {} {reason}", outs[0], twice[0].user)));
        }
        let role = |login: &Login| logins.iter().position(|other| *other == login).map(|k| format!("viewer-{k}"));
        let tls = outs.iter().any(|out| out.tls);
        let of_address = |out: &&RtspOut| {
            let own = out.login.iter().chain(&self.viewers).filter_map(role);
            if self.is_open(out) { own.chain([ANYONE.to_owned()]).collect() } else { own.collect() }
        };
        let roles: Vec<Vec<String>> = outs.iter().map(of_address).collect();
        let all_roles = logins.iter().filter_map(|login| role(login)).chain([ANYONE.to_owned()]).collect();
        if logins.is_empty() && !tls {
            return Ok(AuthSetup { auth: None, roles, all_roles });
        }
        let auth = gst_rtsp_server::RTSPAuth::new();
        auth.set_realm(Some("spotter"));
        if tls {
            auth.set_tls_certificate(self.certificate()?.as_ref());
        }
        let token = |role: &str| gst_rtsp_server::RTSPToken::builder().field("media.factory.role", role).build();
        if outs.iter().any(|out| self.is_open(out)) {
            auth.set_default_token(Some(&mut token(ANYONE)));
        }
        // A set of flags, although it is bound as one of several.
        let both = RTSPAuthMethod::Basic.into_glib() | RTSPAuthMethod::Digest.into_glib();
        auth.set_supported_methods(RTSPAuthMethod::__Unknown(both));
        for (k, Login { user, password }) in logins.iter().enumerate() {
            let token = token(&format!("viewer-{k}"));
            auth.add_basic(&gst_rtsp_server::RTSPAuth::make_basic(user, password), &token);
            auth.add_digest(user, password, &token);
        }
        Ok(AuthSetup { auth: Some(auth), roles, all_roles })
    }
}

/// Lets these roles watch. All `others` may know that there is something: they are asked for a password, where they would be
/// told that there is nothing (404).
pub(super) fn admit(factory: &impl IsA<gst_rtsp_server::RTSPMediaFactory>, roles: &[String], others: &[String]) {
    for role in roles.iter().chain(others.iter().filter(|role| !roles.contains(role))) {
        let permission = gst::Structure::builder(role.as_str()).field("media.factory.access", true);
        factory.add_role_from_structure(&permission.field("media.factory.construct", roles.contains(role)).build());
    }
}
