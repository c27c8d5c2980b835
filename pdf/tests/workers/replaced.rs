//! A worker does not live for ever.

use std::fs;
use std::sync::Arc;

use pagesight_core::DocumentId;
use pagesight_core::seam::PdfReader;
use pagesight_pdf::{RenderOptions, RendererPool, Sandbox, WorkerLimits};

use crate::{fixtures, options};

/// Reads five documents one after the other; how many workers that took.
fn workers(limits: WorkerLimits) -> u64 {
    let pool = RendererPool::new(RenderOptions { limits, ..options(Sandbox::BestEffort) });
    for name in ["form.pdf", "slides.pdf", "rotated.pdf", "scan.pdf", "persian.pdf"] {
        let bytes = fs::read(fixtures().join("pdf").join(name)).unwrap();
        let id = DocumentId::of(&bytes);
        let mut document = pool.open(id, Arc::new(bytes), &Arc::default()).unwrap();
        document.text(1, 1000).unwrap();
    }
    pool.started()
}

pub fn in_time() {
    let limits = WorkerLimits::default();
    assert_eq!(workers(limits.clone()), 1);
    assert_eq!(workers(WorkerLimits { worker_documents: 2, ..limits.clone() }), 3);
    if cfg!(target_os = "linux") {
        assert_eq!(workers(WorkerLimits { worker_kept_bytes: 1, ..limits }), 5);
    }
}
