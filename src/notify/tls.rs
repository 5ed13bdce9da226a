//! Whom we trust: the authorities of the system, and those of a file.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::error::{Error, Result};

/// How TLS is spoken. Servers are held to the system's authorities and those of the file `ca`, in PEM.
///
/// # Errors
/// The file cannot be read or holds no certificate.
pub(crate) fn client(ca: Option<&Path>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    // A machine without any, or with a broken one, may all the same trust those of the file.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca {
        let fail = |reason: &str| Error::Usage(format!("{}: {reason}", path.display()));
        let text = std::fs::read(path).map_err(Error::io("read", path))?;
        let own = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
        let own = own.map_err(|error| fail(&format!("is no PEM file ({error})")))?;
        if own.is_empty() {
            return Err(fail("holds no certificate, expected some in PEM"));
        }
        for certificate in own {
            roots.add(certificate).map_err(|error| fail(&format!("holds a certificate of no authority ({error})")))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let versions = versions.map_err(|error| Error::Usage(format!("TLS: {error}")))?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}
