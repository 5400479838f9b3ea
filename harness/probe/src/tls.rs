//! TLS of the sink's ports, from PEM files.

use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// An error in a file for TLS.
#[derive(Debug, thiserror::Error)]
#[error("TLS: {what} {}: {source}", path.display())]
pub struct TlsError {
    /// The expected content of the file.
    what: &'static str,
    /// The file.
    path: PathBuf,
    /// The cause.
    source: Box<dyn Error + Send + Sync>,
}

/// The server's side of TLS, with a certificate chain and its key. With a client CA, clients must have a certificate
/// that it signed.
pub fn acceptor(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<TlsAcceptor, TlsError> {
    let bad = |what, path: &Path| {
        let path = path.to_owned();
        move |source: Box<dyn Error + Send + Sync>| TlsError { what, path, source }
    };
    let provider = Arc::new(default_provider());
    let chain = certificates(certificate).map_err(bad("certificate", certificate))?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| bad("key", key)(explain(error, "key")))?;

    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad("certificate", certificate)(error.into()))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = certificates(path).and_then(|certificates| {
                let mut roots = RootCertStore::empty();
                for certificate in certificates {
                    roots.add(certificate)?;
                }
                Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?)
            });
            builder.with_client_cert_verifier(verifier.map_err(bad("client CA", path))?)
        }
    };
    let mut config = builder
        .with_single_cert(chain, private)
        .map_err(|error| bad("certificate, or its key,", certificate)(error.into()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Box<dyn Error + Send + Sync>> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| explain(error, "certificate"))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| explain(error, "certificate"))?;
    if found.is_empty() { Err("there is no certificate in it".into()) } else { Ok(found) }
}

fn explain(error: pem::Error, what: &str) -> Box<dyn Error + Send + Sync> {
    match error {
        pem::Error::Io(error) => error.into(),
        pem::Error::NoItemsFound => format!("there is no {what} in it").into(),
        error => error.into(),
    }
}
