//! Metrics in Prometheus' text exposition format, version 0.0.4: what a role writes, and a reader as strict as
//! promtool's. It must not know which metrics there are; each role has a table of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Media type of a page.
pub const MEDIA: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family's numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from the start of the process that counts.
    Counter,
    /// As it is now.
    Gauge,
    /// How often something took how long.
    Histogram,
}

impl Kind {
    /// Its word in a page.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A family of metrics: one name, and a sample for each combination of its labels' values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Its name, with the unit: `pan_…_seconds`, `pan_…_total`.
    pub name: &'static str,
    /// What it says, in a line.
    pub help: &'static str,
    /// What its numbers mean.
    pub kind: Kind,
    /// The names of its labels. On a role's page their values come from lists known when the program is made: never names of
    /// partitions, servers or hosts, so that it is small and tells a reader nothing about tenants.
    pub labels: &'static [&'static str],
}

impl Family {
    /// A counter.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, kind: Kind::Counter, labels }
    }

    /// A gauge.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, kind: Kind::Gauge, labels }
    }

    /// A histogram of durations, in seconds.
    #[must_use]
    pub const fn histogram(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, kind: Kind::Histogram, labels }
    }
}

/// A number that only grows. Any thread may count.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many there are.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets in microseconds: from one write to a disk to a failover that went wrong.
const BOUNDS_MICROS: [u64; 14] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000];

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Not cumulated; the last is for what is above all bounds.
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    /// It took this long once.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS_MICROS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// How often something took how long, as somebody else counted it.
#[derive(Debug, Clone, Copy)]
pub struct Buckets<'a> {
    /// Upper bounds in microseconds, rising.
    pub bounds: &'a [u64],
    /// Not cumulated; one more than there are bounds, for what is above all. What is missing is 0.
    pub counts: &'a [u64],
    /// The sum, in microseconds.
    pub micros: u64,
}

/// A page in the making.
#[derive(Debug, Default)]
pub struct Page {
    out: String,
}

impl Page {
    /// A family with one number for each set of label values.
    pub fn samples<const N: usize>(&mut self, family: &Family, samples: impl IntoIterator<Item = ([&'static str; N], u64)>) {
        self.head(family);
        for (values, number) in samples {
            self.line(family, "", &values, None, number);
        }
    }

    /// A family without labels.
    pub fn number(&mut self, family: &Family, number: u64) {
        self.samples(family, [([], number)]);
    }

    /// A gauge of a length of time, in seconds; nothing when there is none.
    pub fn seconds(&mut self, family: &Family, length: Option<Duration>) {
        self.head(family);
        if let Some(length) = length {
            self.line(family, "", &[], None, length.as_secs_f64());
        }
    }

    /// A family of histograms.
    pub fn histograms<'a, const N: usize>(
        &mut self,
        family: &Family,
        histograms: impl IntoIterator<Item = ([&'static str; N], &'a Histogram)>,
    ) {
        self.head(family);
        for (values, histogram) in histograms {
            let counts: Vec<u64> = histogram.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
            let micros = histogram.micros.load(Ordering::Relaxed);
            self.histogram(family, &values, &Buckets { bounds: &BOUNDS_MICROS, counts: &counts, micros });
        }
    }

    /// A family with labels whose values are names, on a page for whoever may know them.
    pub fn named<'a>(&mut self, family: &Family, samples: impl IntoIterator<Item = (Vec<&'a str>, u64)>) {
        self.head(family);
        for (values, number) in samples {
            self.line(family, "", &values, None, number);
        }
    }

    /// The same of histograms.
    pub fn buckets<'a>(&mut self, family: &Family, histograms: impl IntoIterator<Item = (Vec<&'a str>, Buckets<'a>)>) {
        self.head(family);
        for (values, histogram) in histograms {
            self.histogram(family, &values, &histogram);
        }
    }

    fn histogram(&mut self, family: &Family, values: &[&str], Buckets { bounds, counts, micros }: &Buckets<'_>) {
        let mut below = 0u64;
        for at in 0..=bounds.len() {
            below = below.saturating_add(counts.get(at).copied().unwrap_or_default());
            let bound = bounds.get(at).map_or_else(|| "+Inf".to_owned(), |micros| seconds(*micros).to_string());
            self.line(family, "_bucket", values, Some(&bound), below);
        }
        self.line(family, "_sum", values, None, seconds(*micros));
        self.line(family, "_count", values, None, below);
    }

    /// The text.
    #[must_use]
    pub fn text(self) -> String {
        self.out
    }

    fn head(&mut self, Family { name, help, kind, .. }: &Family) {
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.word()));
    }

    fn line(&mut self, family: &Family, suffix: &str, values: &[&str], bound: Option<&str>, number: impl Display) {
        assert_eq!(family.labels.len(), values.len(), "{} has a value for each label", family.name);
        let mut labels: Vec<String> = family.labels.iter().zip(values).map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        labels.extend(bound.map(|bound| format!("le=\"{bound}\"")));
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.write(format_args!("{}{suffix}{labels} {number}\n", family.name));
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.out.write_fmt(text).expect("a text takes all that is written to it");
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a process' life have far fewer than 53 bits")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// A sample as read: name with suffix, labels, number.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The family it belongs to.
    pub family: String,
    /// Its own name: that of the family, or with a histogram's suffix.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its number.
    pub number: f64,
}

/// Reads a page.
///
/// # Errors
/// The first line that breaks the format, and what is wrong with it: a sample before its family's HELP and TYPE, a
/// family that comes twice, names or labels with wrong letters, a number that is none, a sample that comes twice, a
/// counter without `_total`, a histogram whose buckets fall.
pub fn read(text: &str) -> Result<Vec<Sample>, String> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    let (mut types, mut helped, mut seen) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    let mut current = String::new();
    let mut samples = Vec::new();
    for line in text.lines() {
        let wrong = |what: &str| format!("{line:?}: {what}");
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').ok_or_else(|| wrong("no help"))?;
            if words.trim().is_empty() || !helped.insert(name.to_owned()) {
                return Err(wrong("no help, or a second one"));
            }
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').ok_or_else(|| wrong("no type"))?;
            if !["counter", "gauge", "histogram"].contains(&kind) || !helped.contains(name) {
                return Err(wrong("an unknown type, or no help before it"));
            }
            if (kind == "counter") != name.ends_with("_total") {
                return Err(wrong("a counter's name, and only a counter's, ends with _total"));
            }
            if types.insert(name.to_owned(), kind.to_owned()).is_some() {
                return Err(wrong("a second type"));
            }
            name.clone_into(&mut current);
        } else {
            let sample = sample(line, &current, types.get(&current).map(String::as_str)).map_err(|what| wrong(&what))?;
            if !seen.insert((sample.name.clone(), sample.labels.clone())) {
                return Err(wrong("it comes twice"));
            }
            samples.push(sample);
        }
    }
    monotonic(&samples)?;
    Ok(samples)
}

fn sample(line: &str, family: &str, kind: Option<&str>) -> Result<Sample, String> {
    let (head, number) = line.rsplit_once(' ').ok_or("no number")?;
    let number: f64 = number.parse().map_err(|_| "no number")?;
    let (name, labels) = match head.split_once('{') {
        None => (head, BTreeMap::new()),
        Some((name, rest)) => (name, self::labels(rest.strip_suffix('}').ok_or("no closing brace")?)?),
    };
    let suffix = name.strip_prefix(family).filter(|_| !family.is_empty()).ok_or("not of the family whose TYPE stands before it")?;
    let fits = match kind {
        Some("histogram") => ["_bucket", "_sum", "_count"].contains(&suffix) && (suffix == "_bucket") == labels.contains_key("le"),
        Some(_) => suffix.is_empty(),
        None => false,
    };
    if !fits || !is_name(name) {
        return Err("its name does not fit its family".to_owned());
    }
    Ok(Sample { family: family.to_owned(), name: name.to_owned(), labels, number })
}

fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    for part in text.split(',') {
        let (name, value) = part.split_once('=').ok_or("a label without a value")?;
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).ok_or("a value without quotes")?;
        if !is_name(name) || value.contains(['"', '\\']) || labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err("a label that is wrong or comes twice".to_owned());
        }
    }
    Ok(labels)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Buckets are cumulated, and the last is the count.
fn monotonic(samples: &[Sample]) -> Result<(), String> {
    let mut highest: BTreeMap<(String, BTreeMap<String, String>), f64> = BTreeMap::new();
    for sample in samples {
        let mut labels = sample.labels.clone();
        if labels.remove("le").is_some() {
            let before = highest.insert((sample.family.clone(), labels), sample.number).unwrap_or(0.0);
            if sample.number < before {
                return Err(format!("{}: its buckets fall", sample.family));
            }
        } else if sample.name.ends_with("_count") && highest.get(&(sample.family.clone(), labels)) != Some(&sample.number) {
            return Err(format!("{}: its count is not its last bucket", sample.family));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEATS: Family = Family::counter("pan_beats_total", "Beats", &["fabric"]);
    const TOOK: Family = Family::histogram("pan_step_seconds", "Steps", &["step"]);
    const LEFT: Family = Family::gauge("pan_left_seconds", "Time left", &[]);

    #[test]
    fn a_page_can_be_read_and_says_what_was_counted() {
        let (beats, took) = (Count::default(), Histogram::default());
        beats.add(3);
        for length in [Duration::from_micros(300), Duration::from_millis(40), Duration::from_secs(60)] {
            took.observe(length);
        }
        let mut page = Page::default();
        page.samples(&BEATS, [(["a"], beats.get()), (["b"], 0)]);
        page.histograms(&TOOK, [(["dead"], &took)]);
        page.seconds(&LEFT, Some(Duration::from_millis(170)));
        let text = page.text();
        let samples = read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let of = |name: &str, label: (&str, &str)| {
            let found = samples.iter().find(|one| one.name == name && one.labels.get(label.0).is_some_and(|value| value == label.1));
            found.unwrap_or_else(|| panic!("{name} {label:?} in\n{text}")).number
        };
        assert_eq!((of("pan_beats_total", ("fabric", "a")), of("pan_beats_total", ("fabric", "b"))), (3.0, 0.0));
        assert_eq!(of("pan_step_seconds_bucket", ("le", "0.0005")), 1.0);
        assert_eq!(of("pan_step_seconds_bucket", ("le", "0.05")), 2.0);
        assert_eq!(of("pan_step_seconds_bucket", ("le", "+Inf")), 3.0);
        assert_eq!(of("pan_step_seconds_sum", ("step", "dead")), 60.0403);
        assert_eq!(samples.last().map(|last| last.number), Some(0.17));
    }

    #[test]
    fn what_promtool_refuses_is_refused() {
        let head = "# HELP pan_x_total X\n# TYPE pan_x_total counter\n";
        for (bad, says) in [
            ("pan_x_total 1\n".to_owned(), "not of the family"),
            (format!("{head}pan_x_total 1"), "no end"),
            (format!("{head}pan_x_total one\n"), "no number"),
            (format!("{head}pan_x_total{{a=1}} 1\n"), "without quotes"),
            (format!("{head}pan_x_total 1\npan_x_total 1\n"), "twice"),
            (format!("{head}{head}"), "second"),
            ("# HELP pan_x X\n# TYPE pan_x counter\n".to_owned(), "_total"),
            ("# TYPE pan_x gauge\n".to_owned(), "no help"),
            ("# HELP h H\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\n".to_owned(), "fall"),
            ("# HELP h H\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_count 2\n".to_owned(), "last bucket"),
        ] {
            let error = read(&bad).unwrap_err();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
