//! Which gateway delivered what. Those of this project say who they are; of any other a sink knows the address that it
//! was sent from, and whose that was then the watch knows.

use crate::record::{Event, Record};
use crate::world::{Kind, Object};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The application whose pods the gateways are.
const GATEWAY: &str = "gateway";
/// By how much the watch and a sink's clock may differ, in seconds.
const SLACK: f64 = 2.0;

/// The gateways by name, and whose every address was.
#[derive(Debug, Default)]
pub(super) struct Gateways<'a> {
    names: BTreeSet<&'a str>,
    addresses: BTreeMap<IpAddr, Vec<Held<'a>>>,
}

/// An address that a pod had for a while, in seconds on the run's clock.
#[derive(Debug)]
struct Held<'a> {
    pod: &'a str,
    gateway: bool,
    from: f64,
    until: f64,
}

impl<'a> Gateways<'a> {
    pub(super) fn of(record: &'a Record) -> Self {
        let mut all = Self::default();
        for entry in &record.timeline {
            if let Event::Seen { name, object: Object::Pod(pod) } = &entry.event {
                let gateway = pod.app == GATEWAY;
                if gateway {
                    all.names.insert(name);
                }
                if let Ok(address) = pod.ip.parse::<IpAddr>() {
                    all.hold(address.to_canonical(), name, gateway, entry.t);
                }
            } else if let Event::Gone { kind: Kind::Pod, name } = &entry.event {
                all.let_go(name, entry.t);
            }
        }
        all
    }

    fn hold(&mut self, address: IpAddr, pod: &'a str, gateway: bool, t: f64) {
        let held = self.addresses.entry(address).or_default();
        if !held.iter().any(|held| held.pod == pod && held.until.is_infinite()) {
            held.push(Held { pod, gateway, from: t, until: f64::INFINITY });
        }
    }

    fn let_go(&mut self, pod: &str, t: f64) {
        let held = self.addresses.values_mut().flatten();
        for held in held.filter(|held| held.pod == pod && held.until.is_infinite()) {
            held.until = t;
        }
    }

    /// The gateway that goes by what a sink wrote down of it at a moment; none if that is nobody's, or not for certain
    /// one's.
    pub(super) fn who(&self, said: &str, t: f64) -> Option<&'a str> {
        if let Some(name) = self.names.get(said) {
            return Some(name);
        }
        let address = said.parse::<IpAddr>().ok()?.to_canonical();
        let within = |slack: f64| {
            let held = self.addresses.get(&address).into_iter().flatten();
            held.filter(move |held| held.from - slack <= t && t <= held.until + slack)
        };
        let exact: Vec<&Held<'_>> = within(0.0).collect();
        let held = if exact.is_empty() { within(SLACK).collect() } else { exact };
        // With the node's address several pods have it, and one of them may be a gateway.
        let mut gateways = held.iter().filter(|held| held.gateway);
        match (gateways.next(), gateways.next()) {
            (Some(one), None) => Some(one.pod),
            _ => None,
        }
    }
}
