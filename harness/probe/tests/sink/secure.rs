//! TLS, with and without a client's certificate.

use super::*;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use spanproof_probe::tls;
use std::error::Error;
use std::path::PathBuf;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a name, and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

fn write(dir: &TempDir, name: &str, content: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// A client that trusts a CA, perhaps with a certificate of its own and its key.
fn client(ca: &str, own: Option<(String, String)>) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// Sends spans over TLS and HTTP/2; returns the status of the answer.
async fn send(
    address: SocketAddr,
    tls: TlsConnector,
    numbers: std::ops::Range<u64>,
) -> Result<u16, Box<dyn Error>> {
    let stream = TcpStream::connect(address).await?;
    let stream = TokioIo::new(tls.connect(ServerName::try_from("sink")?, stream).await?);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
    let (mut sender, connection) = handshake?;
    tokio::spawn(connection);
    let post = http::Request::post("https://sink/v1/traces").header("content-type", "application/x-protobuf");
    let body = Full::new(Bytes::from(request(numbers).encode_to_vec()));
    Ok(sender.send_request(post.body(body)?).await?.status().as_u16())
}

#[tokio::test]
async fn spans_are_accepted_over_tls_from_permitted_clients_only() {
    let files = tempfile::tempdir().unwrap();
    let (authority, others) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.issue("sink");
    let certificate = write(&files, "certificate", &certificate);
    let key = write(&files, "key", &key);
    let ca = write(&files, "ca", &authority.pem());
    let served = Served::new().await;
    let serve = async |client_ca: Option<&Path>| {
        let acceptor = tls::acceptor(&certificate, &key, client_ca).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(Arc::clone(&served.sink).serve(listener, Some(acceptor), pending()));
        address
    };
    let trusting = |own| client(&authority.pem(), own);

    let one_sided = serve(None).await;
    assert_eq!(send(one_sided, trusting(None), 0..5).await.unwrap(), 200);
    let stranger = send(one_sided, client(&others.pem(), None), 5..6).await;
    assert!(stranger.unwrap_err().to_string().contains("invalid peer certificate"));

    let mutual = serve(Some(&ca)).await;
    assert_eq!(send(mutual, trusting(Some(authority.issue("agent"))), 5..9).await.unwrap(), 200);
    for own in [None, Some(others.issue("agent"))] {
        send(mutual, trusting(own), 9..10).await.expect_err("it may not");
    }
    assert_eq!(delivered(&served.end_and_read().await), set(0, 9));
}

#[test]
fn a_bad_file_is_named_with_the_reason() {
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (certificate, key) = authority.issue("sink");
    let (_, other) = authority.issue("sink");
    let certificate = write(&files, "certificate", &certificate);
    let key = write(&files, "key", &key);
    let other = write(&files, "other", &other);
    let nonsense = write(&files, "nonsense", "this is no certificate");
    let missing = files.path().join("missing");

    let problem = |certificate: &Path, key: &Path, client_ca: Option<&Path>| {
        tls::acceptor(certificate, key, client_ca).err().unwrap().to_string()
    };
    let cases = [
        (problem(&missing, &key, None), "missing: No such file"),
        (problem(&nonsense, &key, None), "nonsense: there is no certificate in it"),
        (problem(&certificate, &nonsense, None), "nonsense: there is no key in it"),
        (problem(&certificate, &missing, None), "missing: No such file"),
        (problem(&certificate, &other, None), "certificate: "),
        (problem(&certificate, &key, Some(&nonsense)), "nonsense: there is no certificate in it"),
    ];
    for (problem, expected) in cases {
        assert!(problem.starts_with("TLS: ") && problem.contains(expected), "{problem}");
    }
}
