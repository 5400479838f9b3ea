//! The output: one `name value unit` a line, and a last line that is `ok` or names the figures out of bounds.

use crate::BenchError;
use std::io::{self, Write};

/// The bound of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// The output, and the figures out of bounds so far.
#[derive(Debug)]
pub(crate) struct Report<W> {
    out: W,
    short: Vec<String>,
}

impl<W: Write> Report<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, short: Vec::new() }
    }

    /// Prints a figure without a bound.
    pub(crate) fn figure(&mut self, name: &str, value: f64, unit: &str) -> io::Result<()> {
        writeln!(self.out, "{name} {} {unit}", number(value))?;
        self.out.flush()
    }

    /// Prints a figure, and checks it.
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

    /// Notes a failed measurement.
    pub(crate) fn failed(&mut self, what: &str, error: &BenchError) {
        self.short.push(format!("{what}: {error}"));
    }

    /// Prints the last line. Returns `true` if every measurement succeeded and every figure is within its bound.
    pub(crate) fn end(mut self) -> io::Result<bool> {
        let good = self.short.is_empty();
        let verdict = if good { "ok".to_owned() } else { format!("short: {}", self.short.join("; ")) };
        writeln!(self.out, "{}", verdict.replace('\n', " | "))?;
        self.out.flush()?;
        Ok(good)
    }
}

/// A figure with three significant digits: the measurements are not more exact.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The median; NaN if there are no values.
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
    fn figures_within_their_bounds_are_ok() {
        let (text, good) = printed(|report| {
            report.bound("speed", 20.0, "x", Bound::AtLeast(20.0)).unwrap();
            report.bound("memory", 63.94, "MiB", Bound::AtMost(64.0)).unwrap();
        });
        assert_eq!((text.as_str(), good), ("speed 20.0 x\nmemory 63.9 MiB\nok\n", true));
    }

    #[test]
    fn figures_out_of_bounds_are_named_in_the_last_line() {
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
    fn one_outlier_of_three_does_not_move_the_median() {
        assert!((median(vec![9.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
    }
}
