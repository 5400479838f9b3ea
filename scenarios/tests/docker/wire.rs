//! The protocol between the application and the agent.

use crate::tier::{Setup, Tier};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rstest::rstest;
use serde_json::json;
use spanproof_probe::control::{EmitPlan, Protocol, Tls};

async fn arrives(setup: Setup) {
    let tier = Tier::start(setup).await;
    tier.acknowledges(16_000).await;
    tier.finish().await.nothing_is_lost(16_000);
}

fn http() -> EmitPlan {
    EmitPlan {
        endpoint: "http://agent:4318".to_owned(),
        protocol: Protocol::Http.into(),
        ..EmitPlan::default()
    }
}

fn with_http_receiver() -> Setup {
    let receiver = json!({"otlp": {"protocols": {"http": {"endpoint": "0.0.0.0:4318"}}}});
    Setup { agent: json!({"receivers": receiver}), emit: http(), ..Setup::default() }
}

#[rstest]
#[case::gzip(Setup { emit: EmitPlan { gzip: true, ..Setup::default().emit }, ..Setup::default() })]
#[case::http(with_http_receiver())]
#[case::http_with_gzip(Setup { emit: EmitPlan { gzip: true, ..http() }, ..with_http_receiver() })]
#[case::several_connections(Setup { emit: EmitPlan { connections: 4, ..Setup::default().emit }, ..Setup::default() })]
#[case::tls(with_tls(false))]
#[ignore = "nightly"]
#[tokio::test]
async fn what_an_application_sends_another_way_arrives(#[case] setup: Setup) {
    arrives(setup).await;
}

#[tokio::test]
async fn what_an_application_sends_over_mutual_tls_with_gzip_arrives() {
    let mut setup = with_tls(true);
    setup.emit.gzip = true;
    arrives(setup).await;
}

/// The control: an agent that requires a client certificate takes nothing from a client without one.
#[tokio::test]
#[ignore = "nightly"]
async fn an_application_without_a_certificate_is_not_listened_to() {
    let mut setup = with_tls(true);
    let tls = setup.emit.tls.as_mut().unwrap();
    (tls.certificate, tls.key) = (Vec::new(), Vec::new());
    let tier = Tier::start(setup).await;
    tier.until("attempts that fail", |now| now.failed_requests >= 5).await;
    assert_eq!(tier.standing().await.acknowledged, 0);
}

/// An agent with a certificate, and an emitter that trusts it and, with `mutual`, has a certificate of its own.
fn with_tls(mutual: bool) -> Setup {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let signed = |name: &str, purpose: ExtendedKeyUsagePurpose| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    let (certificate, key) = signed("agent", ExtendedKeyUsagePurpose::ServerAuth);
    let (client_certificate, client_key) = signed("emit", ExtendedKeyUsagePurpose::ClientAuth);

    let mut tls = json!({"cert_file": "/etc/collector/agent.pem", "key_file": "/etc/collector/agent.key"});
    let mut client = Tls { ca: ca_certificate.clone().into_bytes(), ..Tls::default() };
    if mutual {
        tls["client_ca_file"] = "/etc/collector/ca.pem".into();
        client.certificate = client_certificate.into_bytes();
        client.key = client_key.into_bytes();
    }
    Setup {
        agent: json!({"receivers": {"otlp": {"protocols": {"grpc": {"tls": tls}}}}}),
        agent_files: vec![
            ("agent.pem", certificate.into_bytes()),
            ("agent.key", key.into_bytes()),
            ("ca.pem", ca_certificate.into_bytes()),
        ],
        emit: EmitPlan {
            endpoint: "https://agent:4317".to_owned(),
            tls: Some(client),
            ..EmitPlan::default()
        },
        ..Setup::default()
    }
}
