//! Search PDFs by how their pages look.
//!
//! A folder of PDFs goes in; ranked pages come out, with the reasons why. The way of a page:
//!
//! 1. **Discover** (indexer): the folder is walked and compared with the *ledger*, to find what is
//!    new, changed, renamed or gone.
//! 2. **Draw and read** (pdf, ocr): a worker process opens the document, reads the text of each
//!    page and draws it in the size that the model wants of a page of its shape. Pages without
//!    words go through optical character recognition.
//! 3. **Encode** (model): the model turns the picture into one unit vector a patch, the page's
//!    *multi-vector*, and says where on the page each vector stands. With ColPali, SigLIP sees the
//!    patches, Gemma relates them, and a linear head gives 128 numbers a patch.
//! 4. **Commit** (store): multi-vectors, words and ledger become one *snapshot*, or nothing does.
//! 5. **Ask** (query, maxsim): the question becomes vectors too, one a *query token*. *MaxSim* sums,
//!    over the query tokens, the best match among a page's patches. Codes of one byte a number are
//!    scanned first, and full-precision vectors are read only where the error of the codes might
//!    change the ranking. Of very many pages only those that *sketches* choose are compared, and
//!    the answer says so. A *compact* index keeps its vectors in 4 bits a number alone, a quarter
//!    of the bytes, and its answers say what that costs. BM25 ranks the words beside the pictures,
//!    and rank fusion joins the channels.
//!
//! ```standalone_crate
//! use pagesight::Index;
//! use pagesight::index::SyncOptions;
//! use pagesight::model::{LoadOptions, ModelSource};
//!
//! // Pages are drawn in workers: this program, started again.
//! pagesight::pdf::serve_worker_if_asked();
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/pdf");
//! # let pdfium = std::env::var_os("PAGESIGHT_PDFIUM").map(|p| std::path::absolute(p).unwrap());
//! # std::fs::create_dir(folder.path().join("reports")).unwrap();
//! # std::fs::copy(format!("{fixtures}/form.pdf"), folder.path().join("reports/form.pdf")).unwrap();
//! # std::env::set_current_dir(folder.path()).unwrap();
//! let index = Index::open_or_create(".pagesight")?;
//! # index.set_renderer(pagesight::pdf::RenderOptions { pdfium, ..Default::default() });
//! // The small model inside the library; the folder of any ColPali checkpoint would do.
//! index.load_model(&ModelSource::Nano, &LoadOptions::default())?;
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
//! # In async code
//!
//! Calls block, and none panics inside an async runtime: the library's own storage runtime is one
//! for the process, is never dropped, and is waited for on a thread of its own where need be. An
//! [`Index`] may be made, used and dropped anywhere, for example as the state of a server. Use
//! `spawn_blocking` so that other tasks go on meanwhile:
//!
//! ```no_run
//! # async fn handler(index: pagesight::Index) -> Result<(), Box<dyn std::error::Error>> {
//! let search = index.search("net sales by region").k(5);
//! let answer = tokio::task::spawn_blocking(move || search.run()).await??;
//! # drop(answer); Ok(())
//! # }
//! ```
//!
//! # What holds
//!
//! * What a call has acknowledged survives kill -9 and power loss.
//! * One bad file costs that file, never the run; its reason is in the ledger.
//! * A search sees one snapshot, whole, while a sync goes on.
//! * Vectors of different models are never compared.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `pdf` | pdfium in worker processes; without it bring a [`PdfReader`](pdf::PdfReader) |
//! | `model` | nano and the loading of checkpoints; without it bring a [`Model`](model::Model) |
//! | `ocr` | tesseract, where it is installed, for pages without words |
//! | `reader` | a reader of our own for such pages, where its weights are |
//! | `hub` | fetching checkpoints from a Hugging Face hub |
//! | `ask` | answers with the pages that prove them, and what is read on a page; a chat model at an address that you name may give them. Beside `hub`, nothing else opens a connection |
//! | `cuda`, `metal` | models on a GPU |
//! | `cli` | the program `pagesight`; the library needs none of it |

#![forbid(unsafe_code)]

// The program names the library as any other program does.
#[cfg(feature = "cli")]
extern crate self as pagesight;

#[cfg(feature = "ask")]
mod agent;
mod answer;
#[cfg(feature = "ask")]
pub mod ask;
#[cfg(feature = "cli")]
#[allow(
    rustdoc::bare_urls,
    rustdoc::broken_intra_doc_links,
    reason = "what is written of arguments is printed by --help"
)]
mod cli;
pub mod context;
mod encoded;
#[cfg(feature = "ask")]
pub mod endpoint;
mod engine;
mod error;
pub mod eval;
pub mod fleet;
mod former;
pub mod hidden;
pub mod index;
mod ledger;
#[cfg(feature = "cli")]
pub mod machine;
mod meaning;
mod open;
mod page;
mod part;
pub mod parts;
#[cfg(any(feature = "ask", feature = "cli"))]
pub mod picture;
mod placed;
#[cfg(feature = "cli")]
pub mod program;
#[cfg(any(feature = "ask", feature = "cli"))]
pub mod reading;
mod recent;
pub mod records;
mod reference;
pub mod region;
mod sample;
pub mod search;
#[cfg(feature = "serve")]
mod serve;
mod sync;
pub mod upkeep;
mod view;
pub mod wire;

pub use answer::Answer;
pub use encoded::EncodedQuestion;
pub use error::Error;
pub use index::Index;
pub use reference::{PageRef, ParseRefError};

/// Models: what encodes pages and questions, ours or your own.
pub mod model {
    pub use pagesight_core::seam::{BoxError, Model, PageEncoder, PassageEncoder, QueryEncoder};
    pub use pagesight_core::{
        Area, EmbedderRecord, EncodedPage, EncodedPassages, Fusion, ModelId, ModelRecord,
        ModelSource, NeutralQuestions, PageImage, PageSize, PageVectors, PassageQuestion,
        PatchLayout, PictureSize, QueryToken, QueryVectors, Run, SliceGrid, Slices, VectorError,
        make_unit,
    };
    #[cfg(feature = "model")]
    pub use pagesight_model::*;
}

/// PDFs: how pages are drawn and read, by worker processes or by a reader of your own.
pub mod pdf {
    pub use pagesight_core::seam::{Ocr, PdfDocument, PdfError, PdfReader};
    pub use pagesight_core::{DrawSize, Filter, OcrChoice, OcrText, OcrWord, PageText};
    #[cfg(feature = "reader")]
    pub use pagesight_ocr::Embedded;
    #[cfg(feature = "ocr")]
    pub use pagesight_ocr::{OcrError, Readers, Tesseract, WeightPlace, WeightSearch};
    #[cfg(feature = "pdf")]
    pub use pagesight_pdf::*;
}
