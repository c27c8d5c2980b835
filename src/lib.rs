//! Search PDFs by how their pages look.
//!
//! A folder of PDFs goes in; ranked pages come out, with the reasons why. The way of a page:
//!
//! 1. **Discover** (indexer): walk the folder, compare it with the *ledger*, find what is new.
//! 2. **Draw and read** (indexer): a worker process opens the document, draws each page at the
//!    model's input resolution and reads its text; pages without words go through OCR.
//! 3. **Encode** (model): SigLIP sees the patches of the page, Gemma relates them, a linear
//!    head gives one unit vector of 128 numbers a patch: the page's *multi-vector*.
//! 4. **Commit** (store): multi-vectors, words and ledger become one *snapshot*, or nothing does.
//! 5. **Ask** (query): the question becomes vectors too, one a *query token*; *MaxSim* sums, over
//!    the query tokens, the best match among a page's patches (maxsim). int8 codes are scanned
//!    first, and the vectors decide where the codes' error might matter; of very many pages only
//!    those that *sketches* choose are compared, and the answer says so. A *compact* index has its
//!    vectors in 4 bits alone, a quarter of the bytes, and its answers say what that costs. BM25 ranks the words
//!    beside it, and reciprocal rank fusion joins the two.
//!
//! ```standalone_crate
//! use pagesight::{ColPali, Index, LoadOptions, SyncOptions};
//!
//! // Pages are drawn in workers: this program, started again.
//! pagesight::serve_worker_if_asked();
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/pdf");
//! # let pdfium = std::env::var_os("PAGESIGHT_PDFIUM").map(|p| std::path::absolute(p).unwrap());
//! # std::fs::create_dir(folder.path().join("reports")).unwrap();
//! # std::fs::copy(format!("{fixtures}/form.pdf"), folder.path().join("reports/form.pdf")).unwrap();
//! # std::env::set_current_dir(folder.path()).unwrap();
//! let mut index = Index::open_or_create(".pagesight")?;
//! # index.set_renderer(pagesight::RenderOptions { pdfium, ..Default::default() });
//! // The small model inside the library; any ColPali checkpoint's folder would do.
//! index.load_model(ColPali::NANO.as_ref(), &LoadOptions::default())?;
//! let summary = index.sync("reports", &SyncOptions::default())?;
//! println!("{} pages", summary.pages_indexed);
//!
//! for hit in index.search("travel expenses in total").k(3).run()?.hits {
//!     println!("{:.3} {}#{}", hit.score, hit.page.path(), hit.page.number());
//!     println!("{}", hit.page.text());
//! }
//! # assert_eq!(summary.pages_indexed, 2);
//! # assert_eq!(index.search("travel expenses in total").run()?.hits[0].page.number(), 1);
//! # Ok::<(), pagesight::Error>(())
//! ```
//!
//! The calls block; inside an async program use them from `spawn_blocking`. What holds:
//!
//! * What a call has acknowledged survives kill -9 and power loss.
//! * One bad file costs that file, never the run; its reason is in the ledger.
//! * A search sees one snapshot, whole, while a sync goes on.
//! * Vectors of different models are never compared.

#![deny(missing_docs)]

mod error;
mod index;
mod page;
mod search;
mod tune;
mod upkeep;

pub use error::Error;
pub use index::{Index, REFRESH, RenderOptions, SyncOptions};
pub use page::Page;
pub use search::{Answer, PageHit, PatchMatch, Search};
pub use tune::{ENOUGH, Question, Receipt, Setting, choose};
pub use upkeep::{collect_garbage, export, import, repair, verify};

pub use pagesight_core::{
    ChannelScore, DocumentId, DocumentRecord, DocumentStatus, ModelId, PageFailure, PageId,
    PageImage, PageRecord, PageSize, Rect, SliceGrid, Slices, TextSource,
};
pub use pagesight_indexer::{
    BatchSize, Confinement, Event, FolderWatch, IndexError, Layer, Limits, Ocr, Outcome,
    PdfiumPlace, RendererError, Sandbox, Summary, find_pdfium, serve_worker_if_asked,
};
pub use pagesight_model::{
    ColPali, Device, HubCache, HubSnapshot, LoadOptions, ModelEntry, ModelError, ModelInfo, Models,
    ParityError, Pooler, Precision, QuantizeSummary, Recipe, RecipeOrigin, StageReport, Trust,
    VerifiedModel, is_embedded, parity, quantize_checkpoint,
};
#[cfg(feature = "hub")]
pub use pagesight_model::{FetchError, FetchEvent, FetchOptions, Fetched, fetch};
pub use pagesight_query::{Channel, Code, QueryError, Shortcut, Timings, Work, ladder, metrics};
pub use pagesight_store::{
    Compact, Damage, FORMAT, Repaired, Snapshot, Snippet, StoreError, StoredModel, Swept, Tuning,
    Verified,
};
