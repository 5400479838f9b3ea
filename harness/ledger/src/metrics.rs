//! What was read of the Collectors' own metrics, once a second: a log of changes, and its series.

use crate::log::Record;
use crate::{LedgerError, sound};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the reader of the metrics writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MetricsRecord {
    /// A process that reads them begins.
    Opened {
        /// When, Unix time in milliseconds.
        unix_ms: u64,
    },
    /// A process is called by this number from now on.
    Target {
        /// The number.
        id: u16,
        /// What it is to the tier: `agent`, `gateway`.
        role: String,
        /// Its address, without the port.
        address: String,
    },
    /// A metric is called by this number from now on.
    Metric {
        /// The number.
        id: u16,
        /// Its name, without `_total`.
        name: String,
    },
    /// A process answered. A metric that is not listed is as it was.
    Scraped {
        /// When, Unix time in milliseconds.
        unix_ms: u64,
        /// The process.
        target: u16,
        /// (metric, value over all of its label sets), where it is another one than before.
        values: Vec<(u16, f64)>,
    },
    /// A process that had answered before does not, any more.
    Silent {
        /// When, Unix time in milliseconds.
        unix_ms: u64,
        /// The process.
        target: u16,
    },
    /// The end.
    Sealed {
        /// How many records are before this one.
        records: u64,
    },
    /// The run that it is of. Written by each process when it has begun.
    Of {
        /// The run's tag, as in the ledgers.
        run_tag: u64,
    },
}

impl Record for MetricsRecord {
    const KIND: u8 = b'M';
}

/// One process and what was read of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Target {
    /// What it is to the tier.
    pub role: String,
    /// Its address.
    pub address: String,
    /// When it answered, Unix time in milliseconds, in order.
    pub answered: Vec<u64>,
    /// When it was found silent.
    pub silent: Vec<u64>,
    /// By name: (Unix time in milliseconds, value), at each change; not a number where it is not known.
    pub series: BTreeMap<String, Vec<(u64, f64)>>,
}

/// The sum of the records.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    targets: BTreeMap<u16, Target>,
    names: BTreeMap<u16, String>,
    run_tag: Option<u64>,
    opened: bool,
    sealed: bool,
    records: usize,
}

impl Metrics {
    /// Adds up records. A number that was never given a name is an error, as is a seal that disagrees.
    pub fn from_records<'a>(
        records: impl IntoIterator<Item = &'a MetricsRecord>,
    ) -> Result<Self, LedgerError> {
        let mut metrics = Self::default();
        for record in records {
            metrics.apply(record)?;
        }
        Ok(metrics)
    }

    /// Adds one record.
    pub fn apply(&mut self, record: &MetricsRecord) -> Result<(), LedgerError> {
        let index = self.records;
        if !self.opened && !matches!(record, MetricsRecord::Opened { .. }) {
            return Err(LedgerError::NotOpened { index });
        }
        match record {
            MetricsRecord::Opened { unix_ms } => {
                sound::moment(index, *unix_ms)?;
                (self.opened, self.sealed) = (true, false);
            }
            MetricsRecord::Of { run_tag } => {
                if let Some(expected) = self.run_tag.filter(|known| known != run_tag) {
                    return Err(LedgerError::OtherRun { index, expected, found: *run_tag });
                }
                self.run_tag = Some(*run_tag);
            }
            MetricsRecord::Target { id, role, address } => {
                let known = self.targets.get(id);
                if known.is_some_and(|known| (&known.role, &known.address) != (role, address)) {
                    return Err(LedgerError::Absurd { index, what: "two processes of one number" });
                }
                let (role, address) = (role.clone(), address.clone());
                self.targets.entry(*id).or_insert(Target { role, address, ..Target::default() });
            }
            MetricsRecord::Metric { id, name } => {
                if self.names.insert(*id, name.clone()).is_some_and(|known| known != *name) {
                    return Err(LedgerError::Absurd { index, what: "two metrics of one number" });
                }
            }
            MetricsRecord::Scraped { unix_ms, target, values } => {
                sound::moment(index, *unix_ms)?;
                let target = self.targets.get_mut(target).ok_or(LedgerError::NeverNamed { index })?;
                target.answered.push(*unix_ms);
                for (metric, value) in values {
                    let name = self.names.get(metric).ok_or(LedgerError::NeverNamed { index })?;
                    // Nothing that is read can be less than none, or no number: what it was is not known.
                    let value = if value.is_finite() && *value >= 0.0 { *value } else { f64::NAN };
                    target.series.entry(name.clone()).or_default().push((*unix_ms, value));
                }
            }
            MetricsRecord::Silent { unix_ms, target } => {
                sound::moment(index, *unix_ms)?;
                let target = self.targets.get_mut(target).ok_or(LedgerError::NeverNamed { index })?;
                target.silent.push(*unix_ms);
            }
            MetricsRecord::Sealed { records } => {
                if *records != index as u64 {
                    let (sealed, counted) = (*records, index as u64);
                    return Err(LedgerError::SealDisagrees { what: "records", sealed, counted });
                }
                self.sealed = true;
            }
        }
        self.records += 1;
        Ok(())
    }

    /// How many records it is the sum of.
    pub const fn records(&self) -> u64 {
        self.records as u64
    }

    /// The run that it is of; none if it does not say.
    pub const fn run_tag(&self) -> Option<u64> {
        self.run_tag
    }

    /// Whether it was closed.
    pub const fn sealed(&self) -> bool {
        self.sealed
    }

    /// The processes of a role.
    pub fn of<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a Target> + 'a {
        self.targets.values().filter(move |target| target.role == role)
    }

    /// Every process, by its number.
    pub fn targets(&self) -> impl Iterator<Item = (u16, &Target)> {
        self.targets.iter().map(|(id, target)| (*id, target))
    }
}

impl Target {
    /// A metric's value at a moment, if the process had answered by then with one.
    pub fn at(&self, name: &str, unix_ms: u64) -> Option<f64> {
        let series = self.series.get(name)?;
        let after = series.partition_point(|(at, _)| *at <= unix_ms);
        Some(series.get(after.checked_sub(1)?)?.1).filter(|value| !value.is_nan())
    }

    /// By how much a counter grew in a window. It begins at 0 with the process: one that fell began anew.
    pub fn increase(&self, name: &str, from: u64, to: u64) -> f64 {
        let Some(series) = self.series.get(name) else { return 0.0 };
        let mut last = self.at(name, from);
        let known = series.iter().filter(|(_, value)| !value.is_nan());
        let within = known.filter(|(at, _)| from < *at && *at <= to);
        within
            .map(|(_, value)| {
                let before = last.replace(*value).filter(|before| before <= value);
                value - before.unwrap_or(0.0)
            })
            .sum()
    }

    /// A metric's highest value in a window (the one at its beginning included), and when that was.
    pub fn highest(&self, name: &str, from: u64, to: u64) -> Option<(u64, f64)> {
        let before = self.at(name, from).map(|value| (from, value));
        let within = self.series.get(name)?.iter().copied().filter(|(at, _)| from < *at && *at <= to);
        let all = before.into_iter().chain(within).filter(|(_, value)| !value.is_nan());
        all.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Vec<MetricsRecord> {
        vec![
            MetricsRecord::Opened { unix_ms: 0 },
            MetricsRecord::Target { id: 0, role: "agent".to_owned(), address: "10.0.0.1".to_owned() },
            MetricsRecord::Metric { id: 0, name: "sent".to_owned() },
            MetricsRecord::Scraped { unix_ms: 1_000, target: 0, values: vec![(0, 10.0)] },
            MetricsRecord::Scraped { unix_ms: 2_000, target: 0, values: vec![(0, 25.0)] },
            MetricsRecord::Silent { unix_ms: 3_000, target: 0 },
            MetricsRecord::Scraped { unix_ms: 6_000, target: 0, values: vec![(0, 4.0)] },
            MetricsRecord::Scraped { unix_ms: 7_000, target: 0, values: vec![] },
            MetricsRecord::Sealed { records: 8 },
        ]
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "whole numbers")]
    fn a_counter_that_fell_began_anew() {
        let metrics = Metrics::from_records(&metrics()).unwrap();
        let agent = metrics.of("agent").next().unwrap();
        assert_eq!(agent.increase("sent", 1_000, 7_000), 15.0 + 4.0);
        assert_eq!(agent.increase("sent", 0, 2_000), 25.0);
        assert_eq!(agent.at("sent", 999), None);
        assert_eq!(agent.at("sent", 6_500), Some(4.0));
        assert_eq!(agent.highest("sent", 0, 9_000), Some((2_000, 25.0)));
        assert_eq!(agent.highest("sent", 6_500, 9_000), Some((6_500, 4.0)));
        assert!(metrics.sealed());
    }

    #[test]
    fn a_value_that_is_none_is_not_known() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -3.0] {
            let mut records = metrics();
            records[6] = MetricsRecord::Scraped { unix_ms: 6_000, target: 0, values: vec![(0, value)] };
            let metrics = Metrics::from_records(&records).unwrap();
            let agent = metrics.of("agent").next().unwrap();
            assert_eq!((agent.at("sent", 2_500), agent.at("sent", 6_500)), (Some(25.0), None), "{value}");
            assert_eq!(agent.highest("sent", 2_500, 9_000), Some((2_500, 25.0)), "{value}");
        }
    }

    #[test]
    fn a_record_that_is_missing_is_noticed() {
        for missing in 0..8 {
            let mut records = metrics();
            records.remove(missing);
            assert!(Metrics::from_records(&records).is_err(), "record {missing}");
        }
        let mut open = metrics();
        open.pop();
        assert!(!Metrics::from_records(&open).unwrap().sealed());
    }
}
