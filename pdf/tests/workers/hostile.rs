//! Programs that pose as workers, to see that their parent stands it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use pagesight_core::{DrawSize, PictureSize};
use pagesight_pdf::{RenderOptions, Renderer, RendererError, Sandbox, StartError, WorkerLimits};

const READY: &str =
    r#"{"Ready":{"confinement":{"landlock":{"Missing":""},"seccomp":{"Missing":""}}}}"#;
const OPENED: &str = r#"{"Opened":{"pages":3,"title":null}}"#;

fn words(text: usize) -> String {
    let text = "x".repeat(text);
    format!(r#"{{"Text":{{"page":{{"width_pt":9,"height_pt":9}},"text":"{text}","cut":false}}}}"#)
}

fn picture(width_pt: &str, side_px: u32) -> String {
    format!(
        r#"{{"Picture":{{"page":{{"width_pt":{width_pt},"height_pt":9}},"width_px":{side_px},"height_px":{side_px}}}}}"#
    )
}

/// A message with a body that is announced to have `body` bytes.
fn message(header: &str, body: u64) -> Vec<u8> {
    let mut bytes = (header.len() as u32).to_le_bytes().to_vec();
    bytes.extend(body.to_le_bytes());
    bytes.extend(header.bytes());
    bytes
}

/// Starts a script that writes `output` and does `then`, opens a document, and asks for the words
/// and the picture of a page.
fn meet(output: &[u8], then: &str) -> Result<(), RendererError> {
    let folder = tempfile::tempdir().unwrap();
    let (said, script) = (folder.path().join("said"), folder.path().join("worker"));
    fs::write(&said, output).unwrap();
    fs::write(&script, format!("#!/bin/sh\ncat '{}'\n{then}\n", said.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let options = RenderOptions {
        pdfium: Some(script.clone()),
        worker_program: Some(script),
        limits: WorkerLimits { page_time: Duration::from_secs(1), ..WorkerLimits::default() },
        sandbox: Sandbox::BestEffort,
        ..RenderOptions::default()
    };
    let mut renderer = match Renderer::start(&options) {
        Ok(renderer) => renderer,
        Err(StartError::Worker { source, .. }) => return Err(source),
        Err(other) => panic!("{other}"),
    };
    renderer.open(b"%PDF", &[])?;
    renderer.text(1, 1_000_000)?;
    renderer.draw(1, DrawSize::exact(PictureSize { width_px: 8, height_px: 8 })).map(drop)
}

pub fn nonsense_is_stopped() {
    let all = |parts: &[Vec<u8>]| parts.concat();
    let (ready, opened) = (message(READY, 0), message(OPENED, 0));
    let (read, drawn) = (message(&words(1), 0), message(&picture("9", 8), 0));
    let noise: Vec<u8> =
        (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let long = format!(r#"{{"NotReady":{{"reason":"{}"}}}}"#, "x".repeat(5_000));
    // The answers to a document and to its words, and then a picture.
    let then = |picture: &str| {
        let parts = [ready.clone(), opened.clone(), read.clone(), message(picture, 0)];
        all(&parts)
    };
    for (what, output) in [
        ("noise", noise.clone()),
        ("a header of 4 GB", vec![0xFF; 100_000]),
        ("a header of 300 MB", message(&"[".repeat(1000), 0).iter().map(|b| b | 0x10).collect()),
        ("JSON of another kind", message("[[[[[[[[", 0)),
        ("a reason without end", message(&long, 0)),
        ("a document before it is asked", opened.clone()),
        ("a page for a document", all(&[ready.clone(), read.clone()])),
        ("noise for a document", all(&[ready.clone(), noise])),
        ("a body of 3 GB", all(&[ready.clone(), message(OPENED, 3 << 30)])),
        ("a document for a page", all(&[ready.clone(), opened.clone(), opened.clone()])),
        ("a picture for words", all(&[ready.clone(), opened.clone(), drawn.clone()])),
        ("too much text", all(&[ready.clone(), opened.clone(), message(&words(1_000_001), 0)])),
        ("words for a picture", then(&words(1))),
        ("a picture too large", then(&picture("9", 60_000))),
        ("a picture too small", then(&picture("9", 7))),
        ("a page without end", then(&picture("1e39", 8))),
        ("a page inside out", then(&picture("-9", 8))),
    ] {
        let start = Instant::now();
        let error = meet(&output, "sleep 60").unwrap_err();
        assert!(matches!(error, RendererError::Nonsense { .. }), "{what}: {error}");
        assert!(start.elapsed() < Duration::from_secs(1), "{what} is seen at once");
    }
    // What is right passes, so that the cases above fail for their own reasons. Its picture is
    // the canvas as it is.
    let right = all(&[ready, opened, read, drawn]);
    if cfg!(target_os = "linux") {
        meet(&right, "sleep 60").unwrap();
    }
    let error = meet(&right[..right.len() - 1], "exit 9").unwrap_err();
    assert!(
        matches!(&error, RendererError::Died { status, .. } if status.contains('9')),
        "{error}"
    );
}

/// The script's `sleep` is a process of its own that keeps the pipe open.
pub fn silence_is_stopped() {
    for (what, output, then) in [
        ("nothing", vec![], "sleep 60"),
        ("half a message", message(READY, 0)[..20].to_vec(), "sleep 60"),
        ("a document that does not open", message(READY, 0), "sleep 60"),
        ("drops", message(READY, 0), "while true; do printf '\\001'; sleep 0.3; done"),
    ] {
        let start = Instant::now();
        let error = meet(&output, then).unwrap_err();
        assert!(matches!(error, RendererError::Timeout { .. }), "{what}: {error}");
        assert!(start.elapsed() < Duration::from_secs(5), "{what}: {:?}", start.elapsed());
    }
}
