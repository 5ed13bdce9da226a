//! Where the page is, and for whom.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cli::RunArgs;
use crate::error::{Error, Result};
use crate::page::PageSettings;

/// `page = "127.0.0.1:8080"`, or a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PageEntry {
    /// As `--page`.
    Address(String),
    /// All of it.
    Table(PageTable),
}

/// `[page]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PageTable {
    /// As `--page`.
    pub address: Option<String>,
    /// As `--page-password`.
    pub password: Option<PathBuf>,
    /// As `--page-token`.
    pub token: Option<PathBuf>,
    /// As `--page-host`.
    pub hosts: Vec<String>,
}

impl PageEntry {
    /// With every key set.
    pub(super) fn example() -> Self {
        Self::Table(PageTable {
            address: Some(String::new()),
            password: Some(PathBuf::new()),
            token: Some(PathBuf::new()),
            hosts: vec![String::new()],
        })
    }

    pub(super) fn table(self) -> PageTable {
        match self {
            Self::Address(address) => PageTable { address: Some(address), ..PageTable::default() },
            Self::Table(table) => table,
        }
    }
}

/// The page, where one is wanted.
///
/// # Errors
/// Its address is none, it would be open to everybody by mistake, TLS has no certificate, or something is said of a page that
/// is not there.
pub(super) fn resolve(args: &RunArgs) -> Result<Option<PageSettings>> {
    let Some(address) = &args.page else {
        let said = [
            ("--page-password", args.page_password.is_some()),
            ("--page-token", args.page_token.is_some()),
            ("--page-host", !args.page_host.is_empty()),
        ];
        return match said.into_iter().find(|(_, said)| *said) {
            Some((flag, _)) => Err(Error::Usage(format!("{flag}: is for a page, and no --page is given"))),
            None => Ok(None),
        };
    };
    let fail = |reason: &str| Error::Usage(format!("--page {address}: {reason}"));
    let expected = "expected HOST:PORT, with https:// in front for TLS";
    let (tls, place) = match address.split_once("://") {
        None => (false, address.as_str()),
        Some(("http", place)) => (false, place),
        Some(("https", place)) => (true, place),
        Some((scheme, _)) => return Err(fail(&format!("{scheme} is no scheme of a page, {expected}"))),
    };
    let place = place.strip_suffix('/').unwrap_or(place);
    let local = format!("127.0.0.1{place}");
    let place = if place.starts_with(':') { &local } else { place };
    let mut places = place.to_socket_addrs().map_err(|e| fail(&format!("{e}, {expected}")))?;
    let place: SocketAddr = places.next().ok_or_else(|| fail(&format!("has no address, {expected}")))?;
    if !place.ip().is_loopback() && args.page_password.is_none() {
        return Err(fail(
            "other machines could look and ask without a password; give one (--page-password), or an address of this \
             machine alone, as in 127.0.0.1:8080",
        ));
    }
    if args.page_token.is_some() && args.page_password.is_none() {
        return Err(Error::Usage("--page-token: nobody is asked for a password, give one (--page-password)".into()));
    }
    let certificate = args.out_tls.clone().filter(|_| tls);
    if tls && certificate.is_none() {
        return Err(fail("needs a certificate and its key in one PEM file, as in --out-tls server.pem"));
    }
    if !tls && !place.ip().is_loopback() {
        tracing::warn!(
            "--page {address}: without TLS others on the way can read the password; https:// keeps it to itself"
        );
    }
    if let Some(name) = args.page_host.iter().find(|name| name.is_empty() || name.contains([':', '/', ' '])) {
        return Err(Error::Usage(format!("--page-host {name:?}: expected a name alone, as in spotter.example")));
    }
    Ok(Some(PageSettings {
        place,
        tls: certificate,
        hosts: args.page_host.clone(),
        password: args.page_password.clone(),
        token: args.page_token.clone(),
    }))
}
