//! Results: comparisons judged on their intervals, one table for people, one JSON file for machines.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::machine::Facts;
use crate::rounds::Series;
use crate::stats::{Interval, interval, percentile};

/// What a comparison must reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The whole interval must be at least this.
    AtLeast(f64),
    /// The whole interval must be at most this.
    AtMost(f64),
    /// The interval must contain 1: both lanes are the same.
    Same,
    /// Nothing to reach: a limit or a fact.
    None,
}

/// How a goal fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Reached, judged on the interval's bound.
    Met,
    /// The median is on the right side, the bound is not.
    Open,
    /// Not reached.
    Missed,
    /// There was no goal.
    Informative,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Row of the list of benchmarks, e.g. `B1`.
    pub id: String,
    /// What is compared or measured, with its unit.
    pub what: String,
    /// The value and its interval.
    pub value: Interval,
    /// What it must reach.
    pub goal: Goal,
    /// Whether it did.
    pub outcome: Outcome,
    /// Pairs or samples.
    pub samples: usize,
    /// Pairs in which either side was disturbed.
    pub disturbed: usize,
    /// Anything a reader must know.
    pub note: String,
}

/// Something that was not measured, and why: reported, never left out.
#[derive(Clone, Debug, Serialize)]
pub struct Gap {
    /// Row of the list of benchmarks.
    pub id: String,
    /// What is missing.
    pub what: String,
    /// The reason.
    pub why: String,
}

/// Everything of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this JSON format.
    pub version: u32,
    /// ISO date.
    pub date: String,
    /// Commit of the working tree.
    pub commit: String,
    /// `quick` or `full`.
    pub mode: String,
    /// The machine before the run.
    pub before: Facts,
    /// The machine after it.
    pub after: Option<Facts>,
    /// The table.
    pub lines: Vec<Line>,
    /// What is missing from it.
    pub gaps: Vec<Gap>,
    /// Raw rates, by benchmark.
    pub series: Vec<(String, Series)>,
}

impl Report {
    /// Compares two lanes of `series` pairwise: `of` over `to`.
    pub fn ratio(&mut self, id: &str, unit: &str, of: &Series, to: &Series, goal: Goal) {
        let pairs = of.rates.iter().zip(&to.rates);
        let ratios: Vec<f64> = pairs.map(|(a, b)| a / b).collect();
        let disturbed = of.disturbed.iter().zip(&to.disturbed).filter(|(a, b)| **a || **b).count();
        let note = format!(
            "{} vs {} {unit}",
            si(percentile(&of.rates, 0.5)),
            si(percentile(&to.rates, 0.5))
        );
        let lost = of.lost + to.lost;
        let note = if lost == 0 { note } else { format!("{note}, {lost} lost") };
        let what = format!("{} / {}", of.label, to.label);
        self.push(id, what, &ratios, goal, disturbed, note);
    }

    /// A plain measurement: the median of `samples`.
    pub fn measured(&mut self, id: &str, what: &str, samples: &[f64], goal: Goal, note: &str) {
        self.push(id, what.to_owned(), samples, goal, 0, note.to_owned());
    }

    /// A single number, e.g. a percentile over many events.
    pub fn single(&mut self, id: &str, what: &str, value: f64, goal: Goal, note: &str) {
        self.measured(id, what, &[value], goal, note);
    }

    /// Records that something could not be measured.
    pub fn gap(&mut self, id: &str, what: &str, why: impl std::fmt::Display) {
        eprintln!("  not measured: {id} {what}: {why}");
        let (id, what) = (id.to_owned(), what.to_owned());
        self.gaps.push(Gap { id, what, why: why.to_string() });
    }

    fn push(
        &mut self,
        id: &str,
        what: String,
        samples: &[f64],
        goal: Goal,
        disturbed: usize,
        note: String,
    ) {
        let value = interval(samples);
        let outcome = judge(value, goal);
        eprintln!("  {id} {what}: {} ({note})", shown(value));
        let samples = samples.len();
        self.lines.push(Line {
            id: id.to_owned(),
            what,
            value,
            goal,
            outcome,
            samples,
            disturbed,
            note,
        });
    }

    /// The table as text.
    #[must_use]
    pub fn table(&self) -> String {
        let head = ["#", "what", "median [95 %]", "goal", "outcome", "n", "disturbed", "values"];
        let mut rows = vec![head.map(str::to_owned)];
        for line in &self.lines {
            rows.push([
                line.id.clone(),
                line.what.clone(),
                shown(line.value),
                goal_text(line.goal),
                format!("{:?}", line.outcome).to_lowercase(),
                line.samples.to_string(),
                line.disturbed.to_string(),
                line.note.clone(),
            ]);
        }
        let mut text = aligned(&rows);
        for gap in &self.gaps {
            let parts = ["not measured: ", &gap.id, " ", &gap.what, ": ", &gap.why, "\n"];
            text.extend(parts);
        }
        text
    }

    /// Writes `<folder>/<date>-<commit>.json` and gives its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(folder).context("make the folder of results")?;
        let path = folder.join(format!("{}-{}.json", self.date, self.commit));
        let text = serde_json::to_string_pretty(self).context("serialise the report")?;
        std::fs::write(&path, text + "\n").context("write the report")?;
        Ok(path)
    }
}

fn judge(value: Interval, goal: Goal) -> Outcome {
    match goal {
        Goal::None => Outcome::Informative,
        Goal::AtLeast(bar) if value.low >= bar => Outcome::Met,
        Goal::AtLeast(bar) if value.median >= bar => Outcome::Open,
        Goal::AtMost(bar) if value.high <= bar => Outcome::Met,
        Goal::AtMost(bar) if value.median <= bar => Outcome::Open,
        Goal::Same if value.low <= 1.0 && 1.0 <= value.high => Outcome::Met,
        _ => Outcome::Missed,
    }
}

fn goal_text(goal: Goal) -> String {
    match goal {
        Goal::AtLeast(bar) => format!(">= {bar}"),
        Goal::AtMost(bar) => format!("<= {bar}"),
        Goal::Same => "contains 1".to_owned(),
        Goal::None => "-".to_owned(),
    }
}

fn shown(value: Interval) -> String {
    let Interval { median, low, high } = value;
    if (high - low).abs() < f64::EPSILON {
        return number(median);
    }
    format!("{} [{}, {}]", number(median), number(low), number(high))
}

fn number(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// A rate with k or M.
fn si(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.2} G", v / 1e9),
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e3 => format!("{:.1} k", v / 1e3),
        v => format!("{v:.1} "),
    }
}

fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(low: f64, median: f64, high: f64) -> Interval {
        Interval { median, low, high }
    }

    #[test]
    fn a_goal_is_judged_on_the_bound_of_the_interval() {
        assert_eq!(judge(value(1.41, 1.5, 1.6), Goal::AtLeast(1.4)), Outcome::Met);
        assert_eq!(judge(value(1.39, 1.5, 1.6), Goal::AtLeast(1.4)), Outcome::Open);
        assert_eq!(judge(value(1.2, 1.3, 1.6), Goal::AtLeast(1.4)), Outcome::Missed);
        assert_eq!(judge(value(1.0, 3.0, 4.0), Goal::AtMost(5.0)), Outcome::Met);
        assert_eq!(judge(value(0.99, 1.0, 1.01), Goal::Same), Outcome::Met);
        assert_eq!(judge(value(1.001, 1.01, 1.02), Goal::Same), Outcome::Missed);
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a".to_owned(), "b".to_owned()], ["long".to_owned(), "c".to_owned()]];
        assert_eq!(aligned(&rows), "a     b\nlong  c\n");
    }
}
