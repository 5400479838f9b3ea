//! The Collectors' own metrics, read once a second: a log of changes, and the series made of it.

use crate::log::Record;
use crate::{LedgerError, bounds};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A record of the metrics log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MetricsRecord {
    /// A process that reads metrics begins.
    Opened {
        /// Unix time in milliseconds.
        unix_ms: u64,
    },
    /// Defines the ID of a Collector process.
    Target {
        /// The ID.
        id: u16,
        /// Its role in the tier: `agent`, `gateway`.
        role: String,
        /// Its address, without the port.
        address: String,
    },
    /// Defines the ID of a metric.
    Metric {
        /// The ID.
        id: u16,
        /// Its name, without `_total`.
        name: String,
    },
    /// A process answered. A metric that is not listed is unchanged.
    Scraped {
        /// Unix time in milliseconds.
        unix_ms: u64,
        /// The process's ID.
        target: u16,
        /// (metric, sum over its label sets), for each value that changed.
        values: Vec<(u16, f64)>,
    },
    /// A process that had answered before no longer does.
    Silent {
        /// Unix time in milliseconds.
        unix_ms: u64,
        /// The process's ID.
        target: u16,
    },
    /// The end.
    Sealed {
        /// The number of records before this one.
        records: u64,
    },
    /// The run. Written by each process after it began.
    Of {
        /// The run's tag, as in the ledgers.
        run_tag: u64,
    },
}

impl Record for MetricsRecord {
    const KIND: u8 = b'M';
}

/// One Collector process and its metrics.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricsTarget {
    /// Its role in the tier.
    pub role: String,
    /// Its address.
    pub address: String,
    /// The times of its answers, Unix time in milliseconds, in order.
    pub answered: Vec<u64>,
    /// The times at which it stopped answering, Unix time in milliseconds.
    pub silent: Vec<u64>,
    /// By name: (Unix time in milliseconds, value) of each change; NaN where the value is not known.
    pub series: BTreeMap<String, Vec<(u64, f64)>>,
}

/// The sum of the records.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    targets: BTreeMap<u16, MetricsTarget>,
    names: BTreeMap<u16, String>,
    run_tag: Option<u64>,
    opened: bool,
    sealed: bool,
    records: usize,
}

impl Metrics {
    /// Sums up records. An ID that was never defined is an error, as is a seal that disagrees.
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
                bounds::time(index, *unix_ms)?;
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
                    return Err(LedgerError::Invalid { index, what: "two processes with one ID" });
                }
                let (role, address) = (role.clone(), address.clone());
                self.targets.entry(*id).or_insert(MetricsTarget {
                    role,
                    address,
                    ..MetricsTarget::default()
                });
            }
            MetricsRecord::Metric { id, name } => {
                if self.names.insert(*id, name.clone()).is_some_and(|known| known != *name) {
                    return Err(LedgerError::Invalid { index, what: "two metrics with one ID" });
                }
            }
            MetricsRecord::Scraped { unix_ms, target, values } => {
                bounds::time(index, *unix_ms)?;
                let target = self.targets.get_mut(target).ok_or(LedgerError::NeverNamed { index })?;
                target.answered.push(*unix_ms);
                for (metric, value) in values {
                    let name = self.names.get(metric).ok_or(LedgerError::NeverNamed { index })?;
                    // No metric that is read can be negative, infinite or NaN: the value is not known.
                    let value = if value.is_finite() && *value >= 0.0 { *value } else { f64::NAN };
                    target.series.entry(name.clone()).or_default().push((*unix_ms, value));
                }
            }
            MetricsRecord::Silent { unix_ms, target } => {
                bounds::time(index, *unix_ms)?;
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

    /// The number of records.
    pub const fn records(&self) -> u64 {
        self.records as u64
    }

    /// The tag of its run; none if no record has it.
    pub const fn run_tag(&self) -> Option<u64> {
        self.run_tag
    }

    /// `true` if the log was closed.
    pub const fn sealed(&self) -> bool {
        self.sealed
    }

    /// The processes of a role.
    pub fn of<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a MetricsTarget> + 'a {
        self.targets.values().filter(move |target| target.role == role)
    }

    /// Every process, by its ID.
    pub fn targets(&self) -> impl Iterator<Item = (u16, &MetricsTarget)> {
        self.targets.iter().map(|(id, target)| (*id, target))
    }
}

impl MetricsTarget {
    /// A metric's value at a time; none if the process had not reported it by then.
    pub fn at(&self, name: &str, unix_ms: u64) -> Option<f64> {
        let series = self.series.get(name)?;
        let after = series.partition_point(|(at, _)| *at <= unix_ms);
        Some(series.get(after.checked_sub(1)?)?.1).filter(|value| !value.is_nan())
    }

    /// The increase of a counter in a window. A counter that fell restarted at 0.
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

    /// A metric's highest value in a window (including the value at its start), with its time.
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
    fn a_counter_that_fell_restarted() {
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
    fn a_value_that_is_no_count_is_not_known() {
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
    fn a_missing_record_is_detected() {
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
