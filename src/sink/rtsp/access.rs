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

/// The role of whoever has a password, or needs none.
const ROLE: &str = "viewer";

impl Access {
    /// Refuses what would be open to everybody by mistake, or cannot be.
    ///
    /// # Errors
    /// Other machines could watch without a password and nobody said that they may, or TLS has no certificate.
    pub(crate) fn check(&self, out: &RtspOut) -> Result<()> {
        let fail = |reason: &str| Err(Error::Usage(format!("--out {out}: {reason}")));
        if out.is_public() && self.viewers.is_empty() && out.login.is_none() && !self.anonymous {
            return fail(
                "other machines could watch without a password; give one (--out-credentials, or SPOTTER_OUT_USER and \
                 SPOTTER_OUT_PASSWORD), or --allow-anonymous",
            );
        }
        match (&self.certificate, out.tls) {
            (None, true) => fail("needs a certificate and its key in one PEM file, as in --out-tls server.pem"),
            _ => Ok(()),
        }
    }

    /// For a server with these addresses: basic and digest passwords, and TLS where it is asked for. None where everybody
    /// may watch without.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub(super) fn auth(&self, outs: &[&RtspOut]) -> Result<Option<gst_rtsp_server::RTSPAuth>> {
        let viewers: Vec<&Login> = outs.iter().filter_map(|out| out.login.as_ref()).chain(&self.viewers).collect();
        let tls = outs.iter().any(|out| out.tls);
        if viewers.is_empty() && !tls {
            return Ok(None);
        }
        let auth = gst_rtsp_server::RTSPAuth::new();
        auth.set_realm(Some("spotter"));
        if let Some(pem) = self.certificate.as_ref().filter(|_| tls) {
            let certificate = gio::TlsCertificate::from_file(pem).map_err(|error| {
                let reason = format!("{error}; expected a certificate and its key in PEM form");
                Error::Usage(format!("--out-tls {}: {reason}", pem.display()))
            })?;
            let has_key = certificate.find_property("private-key-pem").is_none()
                || certificate.property::<Option<String>>("private-key-pem").is_some();
            if !has_key {
                let reason = "holds no private key, expected a certificate and its key in PEM form";
                return Err(Error::Usage(format!("--out-tls {}: {reason}", pem.display())));
            }
            auth.set_tls_certificate(Some(&certificate));
        }
        let mut viewer = gst_rtsp_server::RTSPToken::builder().field("media.factory.role", ROLE).build();
        if viewers.is_empty() {
            auth.set_default_token(Some(&mut viewer));
            return Ok(Some(auth));
        }
        // A set of flags, although it is bound as one of several.
        let both = RTSPAuthMethod::Basic.into_glib() | RTSPAuthMethod::Digest.into_glib();
        auth.set_supported_methods(RTSPAuthMethod::__Unknown(both));
        for Login { user, password } in viewers {
            auth.add_basic(&gst_rtsp_server::RTSPAuth::make_basic(user, password), &viewer);
            auth.add_digest(user, password, &viewer);
        }
        Ok(Some(auth))
    }
}

/// Lets those watch who have a password, or need none.
pub(super) fn admit(factory: &impl IsA<gst_rtsp_server::RTSPMediaFactory>) {
    factory.add_role_from_structure(
        &gst::Structure::builder(ROLE)
            .field("media.factory.access", true)
            .field("media.factory.construct", true)
            .build(),
    );
}
