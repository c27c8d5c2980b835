//! A run of the program, watched from outside: how long, how much memory, how many workers.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What a run did.
pub struct Observed {
    pub status: ExitStatus,
    pub time: Duration,
    /// JSON lines and when they came.
    pub lines: Vec<(Duration, Value)>,
    /// The most that the program had resident, MB.
    pub program_mb: u64,
    /// The most that a worker had resident, and addressed, MB.
    pub worker_mb: u64,
    pub worker_address_mb: u64,
    /// Different workers.
    pub workers: usize,
    /// The program now and then.
    pub samples: Vec<Sample>,
}

/// The program at one time.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub at: Duration,
    pub resident_mb: u64,
    pub descriptors: usize,
    pub workers: usize,
}

/// Runs `command` to its end.
pub fn observe(mut command: Command) -> Observed {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let reader = spawn(move || {
        let line = |line: std::io::Result<String>| {
            (start.elapsed(), serde_json::from_str(&line.unwrap()).unwrap())
        };
        out.lines().map(line).collect::<Vec<(Duration, Value)>>()
    });
    let pid = child.id();
    let (mut samples, mut program_mb, mut address_mb) = (Vec::new(), 0, 0);
    let mut workers: BTreeMap<u32, u64> = BTreeMap::new();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        program_mb = program_mb.max(megabytes(pid, "VmHWM").unwrap_or(0));
        let children = children(pid);
        for worker in &children {
            let peak = workers.entry(*worker).or_default();
            *peak = (*peak).max(megabytes(*worker, "VmHWM").unwrap_or(0));
            address_mb = address_mb.max(megabytes(*worker, "VmPeak").unwrap_or(0));
        }
        samples.push(Sample {
            at: start.elapsed(),
            resident_mb: megabytes(pid, "VmRSS").unwrap_or(0),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count),
            workers: children.len(),
        });
        sleep(Duration::from_millis(50));
    };
    let lines = reader.join().unwrap();
    for worker in workers.keys() {
        assert!(!is_worker(*worker), "worker {worker} outlived the program");
    }
    Observed {
        status,
        time: start.elapsed(),
        lines,
        program_mb,
        worker_mb: workers.values().copied().max().unwrap_or(0),
        worker_address_mb: address_mb,
        workers: workers.len(),
        samples,
    }
}

impl Observed {
    /// The lines of `--json` that tell of documents.
    pub fn documents(&self) -> impl Iterator<Item = &Value> {
        self.lines.iter().map(|(_, line)| line).filter(|line| line["type"] == "document")
    }

    /// The figures, on one line.
    pub fn figures(&self) -> String {
        format!(
            "{:.1} s; program {} MB at most; {} workers, {} MB at most, {} MB of addresses",
            self.time.as_secs_f64(),
            self.program_mb,
            self.workers,
            self.worker_mb,
            self.worker_address_mb
        )
    }
}

/// Threads start workers, and a child belongs to the thread that did.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).ok();
    let all: Vec<String> = threads.filter_map(of).collect();
    let all = all.iter().flat_map(|line| line.split_whitespace());
    all.filter_map(|pid| pid.parse().ok()).filter(|pid| is_worker(*pid)).collect()
}

fn is_worker(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"__pagesight-worker")
}

/// A line of `/proc/PID/status` in kB, as MB.
fn megabytes(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}
