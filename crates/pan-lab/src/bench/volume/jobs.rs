//! What fio is asked for, and what it answers. Pure.

use serde_json::Value;

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    pub name: &'static str,
    /// Of fio.
    pub options: &'static [&'static str],
    /// The part of its answer that counts.
    pub side: &'static str,
}

/// All kinds. The first ones fill the file, so that nobody measures the making of space.
pub(super) const JOBS: [Job; 6] = [
    Job { name: "1m-write", options: &["--rw=write", "--bs=1M", "--iodepth=4"], side: "write" },
    Job { name: "1m-read", options: &["--rw=read", "--bs=1M", "--iodepth=4"], side: "read" },
    Job { name: "4k-write-fsync", options: &["--rw=randwrite", "--bs=4k", "--iodepth=1", "--fsync=1"], side: "write" },
    Job { name: "4k-write-fsync-8", options: &["--rw=randwrite", "--bs=4k", "--iodepth=1", "--fsync=1", "--numjobs=8"], side: "write" },
    Job { name: "4k-read", options: &["--rw=randread", "--bs=4k", "--iodepth=1"], side: "read" },
    Job { name: "4k-read-16", options: &["--rw=randread", "--bs=4k", "--iodepth=16"], side: "read" },
];

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figures {
    /// Operations per second.
    pub rate: f64,
    /// Half of the operations, or of the flushes where there are any, took at most so many microseconds.
    pub p50_us: f64,
    /// And 99 of 100.
    pub p99_us: f64,
    /// How many operations there were.
    pub operations: f64,
}

/// Reads fio's JSON.
///
/// # Errors
/// What is missing in it.
pub(super) fn read(text: &str, job: Job) -> Result<Figures, String> {
    // It warns before the braces.
    let from = text.find('{').ok_or_else(|| format!("fio said no figures: {}", text.trim()))?;
    let all: Value = serde_json::from_str(&text[from..]).map_err(|error| format!("fio's figures: {error}"))?;
    let part = &all["jobs"][0];
    if part["error"].as_i64() != Some(0) {
        return Err(format!("fio failed with error {}", part["error"]));
    }
    let number = |value: &Value, what: &str| value.as_f64().ok_or_else(|| format!("fio's figures lack {what}"));
    let side = &part[job.side];
    let of = |latencies: &Value, percent: &str| latencies["percentile"][percent].as_f64().map(|nanos| nanos / 1000.0);
    let latency = |percent: &str| {
        of(&part["sync"]["lat_ns"], percent).or_else(|| of(&side["clat_ns"], percent)).ok_or("fio's figures lack latencies")
    };
    Ok(Figures {
        rate: number(&side["iops"], "iops")?,
        p50_us: latency("50.000000")?,
        p99_us: latency("99.000000")?,
        operations: number(&side["total_ios"], "total_ios")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_the_flushes_where_there_are_any() {
        let text = |sync: &str| {
            let side = r#"{"iops": 812.5, "total_ios": 8125, "clat_ns": {"percentile": {"50.000000": 40000, "99.000000": 90000}}}"#;
            format!(
                r#"fio: a warning
{{"jobs": [{{"error": 0, "write": {side}, "read": {{}}, "sync": {sync}}}]}}"#
            )
        };
        let flushed = r#"{"lat_ns": {"percentile": {"50.000000": 800000, "99.000000": 2500000}}}"#;
        let found = read(&text(flushed), JOBS[2]).unwrap();
        assert_eq!(found, Figures { rate: 812.5, p50_us: 800.0, p99_us: 2500.0, operations: 8125.0 });
        assert_eq!(read(&text("{}"), JOBS[2]).unwrap().p99_us, 90.0);
        assert!(read(&text("{}"), JOBS[1]).unwrap_err().contains("lack"));
        assert!(read("fio: no such file", JOBS[1]).unwrap_err().contains("no such file"));
        assert!(read(r#"{"jobs": [{"error": 5}]}"#, JOBS[1]).unwrap_err().contains("error 5"));
    }
}
