//! `pagesight index --watch`: an index that keeps in step with its folders.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use pagesight::Index;
use pagesight::index::{
    DocumentStatus, Emptied, Event, FolderWatch, Outcome as Did, Summary, SyncOptions,
};
use serde_json::Value;

use super::Outcome;
use super::report::{document_json, failure_line, summary_json};

/// What is watched, and how that is shown.
#[derive(Debug)]
pub struct Watching<'a> {
    pub folders: &'a [PathBuf],
    /// A look at all folders after this long, even if the system told of no change.
    pub rescan: Duration,
    pub json: bool,
    pub quiet: bool,
}

/// Syncs whenever a folder has changed, until Ctrl-C. A sync that fails, because a drive is gone
/// or another process writes, is told and tried again.
pub fn run(
    index: &Index,
    watching: &Watching<'_>,
    options: &SyncOptions,
    mut watch: FolderWatch,
) -> Result<Outcome> {
    let rescan = watching.rescan;
    let seconds = rescan.as_secs();
    for (root, why) in watch.unwatched() {
        eprintln!(
            "warning: {} cannot be watched ({why}): looked at every {seconds} s",
            root.display(),
        );
    }
    if !watching.quiet {
        eprintln!("watching for changes, Ctrl-C to end");
    }
    // A drive that stays away is told once, and so is one that left an empty folder behind.
    let mut last_error = String::new();
    let mut last_emptied: Vec<Emptied> = Vec::new();
    loop {
        watch.wait(rescan, &options.stop);
        if options.stop.load(Ordering::Relaxed) {
            return Ok(Outcome::Interrupted);
        }
        let start = Instant::now();
        let mut news = News::default();
        match index.sync_all(watching.folders, options, &mut |event| news.hear(event)) {
            Ok(summary) => {
                last_error.clear();
                if news.any {
                    news.print(index, watching.json, &summary, start.elapsed())?;
                }
                if summary.interrupted {
                    return Ok(Outcome::Interrupted);
                }
                if options.drop_emptied || summary.emptied == last_emptied {
                    continue;
                }
                for emptied in &summary.emptied {
                    eprintln!(
                        "warning: {emptied}: nothing of it is dropped, since its drive may not be \
                         mounted; --drop-emptied drops it"
                    );
                }
                last_emptied = summary.emptied;
                // A drive that is mounted later is another folder than the one that is watched.
                watch = FolderWatch::new(watching.folders, index.folder());
            }
            Err(error) => {
                let error = super::chain(&error.into());
                if error != last_error {
                    eprintln!("warning: {error}; tried again every {seconds} s");
                }
                last_error = error;
                // What went away and came back is not watched any more.
                watch = FolderWatch::new(watching.folders, index.folder());
            }
        }
    }
}

/// What one sync changed.
#[derive(Default)]
struct News {
    any: bool,
    documents: Vec<Value>,
    failures: Vec<String>,
}

impl News {
    fn hear(&mut self, event: Event<'_>) {
        match event {
            Event::Document { record, outcome, .. } if outcome != Did::Skipped => {
                self.any = true;
                self.documents.push(document_json(record, outcome));
                if record.status != DocumentStatus::Ok {
                    self.failures.push(failure_line(record));
                }
            }
            Event::Dropped { .. } => self.any = true,
            _ => {}
        }
    }

    fn print(
        &self,
        index: &Index,
        as_json: bool,
        summary: &Summary,
        time: Duration,
    ) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for line in &self.failures {
            eprintln!("{line}");
        }
        if as_json {
            for line in &self.documents {
                writeln!(out, "{line}")?;
            }
            writeln!(out, "{}", summary_json(index, summary, time))?;
        } else {
            writeln!(
                out,
                "indexed {} documents, {} pages; {} renamed or copied, {} dropped; {:.1} s",
                summary.documents_indexed,
                summary.pages_indexed,
                summary.documents_renamed,
                summary.documents_dropped,
                time.as_secs_f64()
            )?;
        }
        out.flush()
    }
}
