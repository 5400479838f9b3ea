//! The gateways by name and address, to tell which one delivered a span. Those of this project give their name; of any other
//! a sink knows the address, and the watch knows whose that was at the time.

use crate::record::{Event, Record};
use crate::world::{Kind, Object};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The application label of the gateways.
const GATEWAY: &str = "gateway";
/// The largest difference between the watch's clock and a sink's, in seconds.
const SLACK: f64 = 2.0;

/// The gateways by name, and the pods that had each address.
#[derive(Debug, Default)]
pub(super) struct Gateways<'a> {
    names: BTreeSet<&'a str>,
    addresses: BTreeMap<IpAddr, Vec<Assignment<'a>>>,
}

/// An address that a pod had for a while, in seconds on the run's clock.
#[derive(Debug)]
struct Assignment<'a> {
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
                    all.assign(address.to_canonical(), name, gateway, entry.t);
                }
            } else if let Event::Gone { kind: Kind::Pod, name } = &entry.event {
                all.release(name, entry.t);
            }
        }
        all
    }

    fn assign(&mut self, address: IpAddr, pod: &'a str, gateway: bool, t: f64) {
        let held = self.addresses.entry(address).or_default();
        if !held.iter().any(|held| held.pod == pod && held.until.is_infinite()) {
            held.push(Assignment { pod, gateway, from: t, until: f64::INFINITY });
        }
    }

    fn release(&mut self, pod: &str, t: f64) {
        let held = self.addresses.values_mut().flatten();
        for held in held.filter(|held| held.pod == pod && held.until.is_infinite()) {
            held.until = t;
        }
    }

    /// Returns the gateway with the name or address that a sink recorded at a moment; none if there is no such gateway, or if
    /// that is not certain.
    pub(super) fn who(&self, said: &str, t: f64) -> Option<&'a str> {
        if let Some(name) = self.names.get(said) {
            return Some(name);
        }
        let address = said.parse::<IpAddr>().ok()?.to_canonical();
        let within = |slack: f64| {
            let held = self.addresses.get(&address).into_iter().flatten();
            held.filter(move |held| held.from - slack <= t && t <= held.until + slack)
        };
        let exact: Vec<&Assignment<'_>> = within(0.0).collect();
        let held = if exact.is_empty() { within(SLACK).collect() } else { exact };
        // In the host's network several pods have one address, and one of them may be a gateway.
        let mut gateways = held.iter().filter(|held| held.gateway);
        match (gateways.next(), gateways.next()) {
            (Some(one), None) => Some(one.pod),
            _ => None,
        }
    }
}
