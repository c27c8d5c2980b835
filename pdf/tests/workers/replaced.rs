//! A worker does not live for ever.

use std::fs;
use std::sync::atomic::AtomicBool;

use pagesight_core::testing::FakeStore;
use pagesight_indexer::{BatchSize, Limits, Sandbox, Settings, sync};

use crate::{fixtures, pdfium};

/// Indexes five documents with one worker at a time; how many workers that took.
#[cfg(unix)]
fn workers(limits: Limits) -> usize {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let documents = folder.path().join("documents");
    fs::create_dir(&documents).unwrap();
    for name in ["form.pdf", "slides.pdf", "rotated.pdf", "scan.pdf", "persian.pdf"] {
        fs::copy(fixtures().join("pdf").join(name), documents.join(name)).unwrap();
    }
    let (script, log) = (folder.path().join("worker"), folder.path().join("log"));
    let program = std::env::current_exe().unwrap();
    let (program, log_name) = (program.display(), log.display());
    let text = format!("#!/bin/sh\necho started >> '{log_name}'\nexec '{program}' \"$@\"\n");
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let settings = Settings {
        base: documents.clone(),
        roots: vec![documents],
        workers: 1,
        worker_program: script,
        pdfium: pdfium(),
        passwords: Vec::new(),
        retry_failed: false,
        ocr_languages: None,
        limits,
        sandbox: Sandbox::BestEffort,
        batch: BatchSize::default(),
    };
    let mut store = FakeStore::default();
    let stop = AtomicBool::new(false);
    let summary = sync(&mut store, None, &settings, &stop, &mut |_| {}).unwrap();
    assert_eq!((summary.documents_indexed, summary.failures.len()), (5, 0));
    fs::read_to_string(log).unwrap().lines().count()
}

#[cfg(not(unix))]
fn workers(limits: Limits) -> usize {
    5usize.div_ceil(limits.worker_documents as usize)
}

pub fn in_time() {
    let limits = Limits::default();
    assert_eq!(workers(limits.clone()), 1);
    assert_eq!(workers(Limits { worker_documents: 2, ..limits.clone() }), 3);
    if cfg!(target_os = "linux") {
        assert_eq!(workers(Limits { worker_kept_bytes: 1, ..limits }), 5);
    }
}
