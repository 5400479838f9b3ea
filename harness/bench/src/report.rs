//! What is printed: one `name value unit` a line, and at the end whether all of it is as it should be.

use crate::BenchError;
use std::io::{self, Write};

/// What a figure has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// The lines so far, and what fell short.
#[derive(Debug)]
pub(crate) struct Report<W> {
    out: W,
    short: Vec<String>,
}

impl<W: Write> Report<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, short: Vec::new() }
    }

    /// A figure that is what it is.
    pub(crate) fn figure(&mut self, name: &str, value: f64, unit: &str) -> io::Result<()> {
        writeln!(self.out, "{name} {} {unit}", number(value))?;
        self.out.flush()
    }

    /// A figure that has to be within a bound.
    pub(crate) fn bound(&mut self, name: &str, value: f64, unit: &str, bound: Bound) -> io::Result<()> {
        let (holds, wanted) = match bound {
            Bound::AtLeast(least) => (value >= least, format!("at least {}", number(least))),
            Bound::AtMost(most) => (value <= most, format!("at most {}", number(most))),
        };
        if !holds {
            self.short.push(format!("{name} is {} {unit}, not {wanted}", number(value)));
        }
        self.figure(name, value, unit)
    }

    /// A measurement that could not be made.
    pub(crate) fn failed(&mut self, what: &str, error: &BenchError) {
        self.short.push(format!("{what}: {error}"));
    }

    /// The last line. Is all as it should be?
    pub(crate) fn end(mut self) -> io::Result<bool> {
        let good = self.short.is_empty();
        let verdict = if good { "ok".to_owned() } else { format!("short: {}", self.short.join("; ")) };
        writeln!(self.out, "{}", verdict.replace('\n', " | "))?;
        self.out.flush()?;
        Ok(good)
    }
}

/// Three digits are as many as these measurements are good for.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The one in the middle; of none: not a number.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(fill: impl Fn(&mut Report<&mut Vec<u8>>)) -> (String, bool) {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out);
        fill(&mut report);
        let good = report.end().unwrap();
        (String::from_utf8(out).unwrap(), good)
    }

    #[test]
    fn what_holds_is_ok() {
        let (text, good) = printed(|report| {
            report.bound("speed", 20.0, "x", Bound::AtLeast(20.0)).unwrap();
            report.bound("memory", 63.94, "MiB", Bound::AtMost(64.0)).unwrap();
        });
        assert_eq!((text.as_str(), good), ("speed 20.0 x\nmemory 63.9 MiB\nok\n", true));
    }

    #[test]
    fn what_falls_short_is_named_in_the_last_line() {
        let (text, good) = printed(|report| {
            report.bound("memory", 64.1, "MiB", Bound::AtMost(64.0)).unwrap();
            report.failed("judge", &BenchError::Ledger("torn\noff".to_owned()));
            report.bound("speed", f64::NAN, "x", Bound::AtLeast(20.0)).unwrap();
        });
        let last = text.lines().last().unwrap();
        assert!(!good && last.starts_with("short: memory is 64.1 MiB, not at most 64.0; judge: "), "{last}");
        assert!(last.ends_with("; speed is NaN x, not at least 20.0"), "{last}");
    }

    #[test]
    fn one_bad_round_of_three_moves_no_median() {
        assert!((median(vec![9.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
    }
}
