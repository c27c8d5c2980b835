//! `pagesight index --watch`, with the real program.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Place, fixtures, hits};

/// Long enough for a slow machine; what is waited for usually comes in a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that watches, and what it says.
struct Watching {
    child: Child,
    lines: Receiver<String>,
    warnings: Receiver<String>,
}

impl Watching {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let arguments = [&["index", "--watch", "--json"][..], arguments].concat();
        let mut command = place.command(&arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = told(child.stdout.take().unwrap());
        let warnings = told(child.stderr.take().unwrap());
        Self { child, lines, warnings }
    }

    /// The lines of the next sync, its summary last.
    fn next_sync(&self) -> Vec<Value> {
        let mut lines: Vec<Value> = Vec::new();
        while lines.last().is_none_or(|line| line["type"] != "summary") {
            let line = self.lines.recv_timeout(PATIENCE).expect("a sync is told");
            lines.push(serde_json::from_str(&line).unwrap());
        }
        lines
    }
}

/// The lines of a stream, as they come.
fn told(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, lines) = channel();
    spawn(move || {
        for line in BufReader::new(stream).lines() {
            let _ = tell.send(line.unwrap());
        }
    });
    lines
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_watched_folder_and_its_index_keep_in_step() {
    let place = Place::with(&["form.pdf"]);
    let mut watching = Watching::start(&place, &["."]);
    assert_eq!(watching.next_sync().last().unwrap()["pages"]["indexed"], 2);

    // A new file in a new folder, which comes in pieces.
    let bytes = fs::read(fixtures().join("pdf/papers/chart.pdf")).unwrap();
    fs::create_dir_all(place.path().join("new/deep")).unwrap();
    let mut file = File::create(place.path().join("new/deep/chart.pdf")).unwrap();
    for piece in bytes.chunks(bytes.len() / 4 + 1) {
        file.write_all(piece).unwrap();
        sleep(Duration::from_millis(100));
    }
    drop(file);
    // A slow machine may have looked before it was whole, and looks again.
    loop {
        let sync = watching.next_sync();
        assert_eq!(sync[0]["path"], "new/deep/chart.pdf");
        if sync[0]["status"] == "ok" {
            assert_eq!(sync.last().unwrap()["pages"]["indexed"], 2);
            break;
        }
    }
    let found = || hits(&place.json(0, &["query", "--json", "-k", "1", "travel expense"]));
    assert_eq!(found(), [("form.pdf".to_string(), 1)]);

    fs::rename(place.path().join("form.pdf"), place.path().join("new/claim.pdf")).unwrap();
    let summary = watching.next_sync().pop().unwrap();
    let documents = &summary["documents"];
    assert_eq!((&documents["renamed"], &documents["dropped"]), (&1.into(), &1.into()));
    assert_eq!(found(), [("new/claim.pdf".to_string(), 1)]);
    fs::remove_file(place.path().join("new/claim.pdf")).unwrap();
    assert_eq!(watching.next_sync().pop().unwrap()["documents"]["dropped"], 1);
    assert_eq!(place.run(&["query", "travel expense"]).code, 1);

    // When nothing is left at all, the drive may be gone: nothing is dropped, and it is said.
    fs::remove_dir_all(place.path().join("new")).unwrap();
    let warned = watching.warnings.iter().find(|line| line.contains("found nothing below"));
    assert!(warned.is_some_and(|line| line.contains("held 1 document:")));
    assert_eq!(hits(&place.json(0, &["query", "--json", "-k", "1", "chart"])).len(), 1);

    // Its own writes are no news: nothing is said in the time of some looks.
    assert!(watching.lines.recv_timeout(Duration::from_secs(3)).is_err());
    let start = Instant::now();
    let pid = watching.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(watching.child.wait().unwrap().code(), Some(130));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_folder_that_was_away_is_found_again() {
    let place = Place::new();
    place.add("form.pdf", "drive/form.pdf");
    let drive = place.path().join("drive");
    let watching = Watching::start(&place, &["--rescan", "1", "drive"]);
    watching.next_sync();
    fs::rename(&drive, place.path().join("away")).unwrap();
    let warned = watching.warnings.iter().find(|line| line.contains("tried again every 1 s"));
    assert!(warned.is_some_and(|line| line.contains("drive")));
    // Nothing was dropped meanwhile.
    assert_eq!(hits(&place.json(0, &["query", "--json", "travel"])).len(), 2);
    fs::rename(place.path().join("away"), &drive).unwrap();
    place.add("papers/chart.pdf", "drive/chart.pdf");
    assert_eq!(watching.next_sync()[0]["path"], "drive/chart.pdf");
}
