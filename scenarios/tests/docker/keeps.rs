//! What is shipped keeps every span.

use crate::tier::{Setup, Tier};
use spanproof_probe::control::{Refuse, behaviour::Kind};

const UNAVAILABLE: Kind = Kind::Refuse(Refuse { code: 14, retry_after_ms: None });

#[tokio::test]
async fn nothing_is_lost_when_nothing_happens() {
    let tier = Tier::start(Setup::default()).await;
    tier.acknowledges(16_000).await;
    tier.finish().await.nothing_is_lost(16_000);
}

#[tokio::test]
async fn gateways_are_killed_in_turn() {
    let tier = Tier::start(Setup::default()).await;
    for gateway in ["gateway-0", "gateway-1", "gateway-0"] {
        tier.delivers(8_000).await;
        tier.kill(gateway);
        tier.start_again(gateway).await;
    }
    tier.delivers(8_000).await;
    tier.finish().await.nothing_is_lost(31_000);
}

#[tokio::test]
async fn an_outage_of_twenty_seconds() {
    let tier = Tier::start(Setup::default()).await;
    tier.delivers(5_000).await;
    tier.backend(UNAVAILABLE).await;
    tier.acknowledges(40_000).await;
    tier.backend_heals().await;
    tier.finish().await.nothing_is_lost(45_000);
}
