//! TLS of the emitter's connections. Only the plan's CA is trusted.

use crate::control::{ProbeError, Tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// The client's configuration, from the plan.
pub(super) fn client(tls: &Tls) -> Result<ClientConfig, ProbeError> {
    let refuse = |what: &str, why: &dyn std::fmt::Display| ProbeError::Plan(format!("TLS: {what}: {why}"));
    let mut roots = RootCertStore::empty();
    for authority in certificates(&tls.ca).map_err(|error| refuse("the CA's certificate", &error))? {
        roots.add(authority).map_err(|error| refuse("the CA's certificate", &error))?;
    }
    if !tls.ca.is_empty() && roots.is_empty() {
        return Err(refuse("the CA's certificate", &"there is none in it"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse("versions", &error))?
        .with_root_certificates(roots);
    if tls.certificate.is_empty() && tls.key.is_empty() {
        return Ok(builder.with_no_client_auth());
    }
    let own = certificates(&tls.certificate).map_err(|error| refuse("the client's certificate", &error))?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key).map_err(|error| refuse("the client's key", &error))?;
    builder
        .with_client_auth_cert(own, key)
        .map_err(|error| refuse("the client's certificate and key", &error))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_problem_of_a_certificate_is_named() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (own.cert.pem().into_bytes(), own.signing_key.serialize_pem().into_bytes());
        let tls = |ca: &[u8], certificate: &[u8], key: &[u8]| {
            let (ca, certificate, key) = (ca.to_vec(), certificate.to_vec(), key.to_vec());
            client(&Tls { ca, certificate, key, ..Tls::default() })
                .map(|_| ())
                .map_err(|error| error.to_string())
        };
        assert_eq!(tls(&certificate, &certificate, &key), Ok(()));
        assert_eq!(tls(&certificate, b"", b""), Ok(()));
        let broken = b"-----BEGIN CERTIFICATE-----\nnonsense!\n-----END CERTIFICATE-----\n";
        for (refused, what) in [
            (tls(broken, b"", b""), "the CA's certificate"),
            (tls(b"nothing", b"", b""), "the CA's certificate"),
            (tls(&certificate, &certificate, b""), "the client's key"),
            (tls(&certificate, broken, &key), "the client's certificate"),
            (tls(&certificate, b"", &key), "the client's certificate and key"),
        ] {
            assert!(refused.clone().is_err_and(|why| why.contains(what)), "{refused:?}, not {what}");
        }
    }
}
