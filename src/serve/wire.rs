//! What routes answer beside what the library writes itself: records with their names and units.
//! Their descriptions are those of `/openapi.json` and of the tools.

use pagesight::index::{DocumentRecord, Outcome};
use pagesight::records;
use pagesight::search::Page;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::problem::Problem;
use super::served::{Served, encoded, rfc3339, rfc3339_of_ns};
use super::session::Scope;
use super::state::App;
use crate::cli::report;

/// How many documents are in each state.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Counts {
    /// Every page is indexed.
    pub ok: usize,
    /// Some pages could not be read.
    pub partial: usize,
    /// Nothing of the document is indexed.
    pub failed: usize,
    /// Some pages are indexed and the rest is still to be read.
    pub in_progress: usize,
}

/// An index.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IndexInfo {
    /// Its name, 1 to 64 characters.
    pub name: String,
    /// Whether requests that name no index mean this one.
    pub default: bool,
    /// Number of the snapshot that searches see; it grows with each commit.
    pub snapshot: u64,
    /// Version of the format on disk.
    pub format: u32,
    /// Pages.
    pub pages: u64,
    /// Documents by state.
    pub documents: Counts,
    /// Size on disk, bytes.
    pub bytes: u64,
    /// The model and recipe of the vectors; null for an index of words alone.
    pub model_id: Option<String>,
    /// The model's name; null for an index of words alone.
    pub model: Option<String>,
    /// The grids that pages are cut into, such as `1x1+2x3`; null where it is not known.
    pub slices: Option<String>,
    /// Numbers in a vector; null for an index of words alone.
    pub dim: Option<usize>,
    /// What it was measured to lose that vectors are kept in 4 bits; null for other indexes.
    pub compact: Value,
    /// What searches were tuned to; null where they were not.
    pub tuning: Value,
}

/// What the server is and what it allows.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Status {
    /// Version of pagesight.
    pub version: &'static str,
    /// When the server started, RFC 3339.
    pub started: String,
    /// Whether jobs, uploads and deletions are taken.
    pub write: bool,
    /// What the token of this request allows.
    pub scope: Scope,
    /// The indexes, the default one first.
    pub indexes: Vec<IndexInfo>,
    /// The most that is taken.
    pub limits: StatusLimits,
}

/// The most that is taken.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatusLimits {
    /// Of a JSON body, bytes.
    pub body_bytes: usize,
    /// Of an uploaded file, bytes.
    pub upload_bytes: u64,
    /// Of a query, bytes.
    pub query_bytes: usize,
    /// Hits of a search.
    pub k: u64,
    /// Width of a picture, px.
    pub image_px: u32,
    /// Time for an answer, ms.
    pub deadline_ms: u64,
}

/// The longest query, bytes.
pub const QUERY_BYTES: usize = 4_096;
/// The most hits.
pub const MOST_HITS: u64 = 200;
/// The widest picture, px.
pub const WIDEST: u64 = 4_096;

impl Status {
    /// The status of a server as a request of `scope` sees it.
    ///
    /// # Errors
    /// As [`IndexInfo::of`].
    pub fn of(app: &App, scope: Scope) -> Result<Self, Problem> {
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            started: rfc3339(app.started),
            write: app.options.write,
            scope,
            indexes: app.indexes().iter().map(IndexInfo::of).collect::<Result<_, _>>()?,
            limits: StatusLimits {
                body_bytes: super::call::BODY,
                upload_bytes: app.options.max_file_bytes,
                query_bytes: QUERY_BYTES,
                k: MOST_HITS,
                image_px: WIDEST as u32,
                deadline_ms: app.options.deadline.as_millis() as u64,
            },
        })
    }
}

impl IndexInfo {
    /// What is known of an index.
    ///
    /// # Errors
    /// When its ledger cannot be read.
    pub fn of(served: &Served) -> Result<Self, Problem> {
        use pagesight::index::DocumentStatus::{self, Failed, InProgress, Partial};
        // A newer snapshot that cannot be opened is said where the index is asked for more.
        let _ = served.index.refresh();
        let (snapshot, documents) = (served.index.snapshot(), served.index.documents()?);
        let count = |status| documents.iter().filter(|record| record.status == status).count();
        let model = snapshot.model();
        Ok(Self {
            name: served.name.clone(),
            default: served.is_default,
            snapshot: snapshot.number(),
            format: snapshot.format(),
            pages: snapshot.pages(),
            documents: Counts {
                ok: count(DocumentStatus::Ok),
                partial: count(Partial),
                failed: count(Failed),
                in_progress: count(InProgress),
            },
            bytes: snapshot.bytes(),
            model_id: model.map(|model| model.id.to_string()),
            model: model.and_then(|model| model.source.as_ref()).map(records::model_name),
            slices: records::slices(&snapshot),
            dim: model.map(|model| model.dim),
            compact: json_of(&snapshot.compact()),
            tuning: json_of(&snapshot.tuning()),
        })
    }
}

fn json_of(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// A document of an index.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Document {
    /// Its ledger path, `/` between folders.
    pub path: String,
    /// Its id, 64 hexadecimal digits; null when the file could not be read.
    pub document: Option<String>,
    /// `ok`, `partial`, `failed` or `in_progress`.
    pub status: &'static str,
    /// Pages indexed.
    pub pages: u32,
    /// Pages that could not be read.
    pub failed_pages: usize,
    /// Pages that are found by their looks, and whose words OCR is still to read.
    pub waiting_pages: usize,
    /// Why it is not whole, one line; null when it is.
    pub reason: Option<String>,
    /// The title in its metadata; null where there is none.
    pub title: Option<String>,
    /// Size of the file, bytes.
    pub bytes: u64,
    /// When the file was changed last, RFC 3339.
    pub modified: String,
    /// Pages of the document, 0 where it is not known.
    pub page_count: u32,
    /// Whether it was uploaded to this server.
    pub upload: bool,
    /// Where more is said of it; null when it has no id.
    pub url: Option<String>,
}

impl Document {
    /// A record of the ledger; `upload` says whether it was uploaded.
    pub fn of(served: &Served, record: &DocumentRecord, upload: bool) -> Self {
        let line = report::document_json(record, Outcome::Indexed);
        let id = record.document.map(|id| id.to_string());
        Self {
            path: record.path.clone(),
            url: id.as_ref().map(|id| served.url(&format!("/v1/documents/{}", &id[..16]))),
            document: id,
            status: record.status.as_str(),
            pages: record.pages_indexed,
            failed_pages: record.failed_pages.len(),
            waiting_pages: record.waiting_pages.len(),
            reason: line["reason"].as_str().map(String::from),
            title: record.title.clone(),
            bytes: record.bytes,
            modified: rfc3339_of_ns(record.modified_ns),
            page_count: record.page_count,
            upload,
        }
    }
}

/// A page.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PageInfo {
    /// Its reference, `DOC-PAGE`: it names bytes, so it stays right when files move.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The document's id, 64 hexadecimal digits.
    pub document: String,
    /// The document's ledger path.
    pub path: String,
    /// All paths at which the document was found.
    pub paths: Vec<String>,
    /// Number of the page, from 1.
    pub page: u32,
    /// Pages of the document.
    pub page_count: u32,
    /// The document's title; null where it has none.
    pub title: Option<String>,
    /// Width and height as displayed, points.
    pub size_pt: [f32; 2],
    /// Its words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// `layer`, `ocr` or `none`.
    pub text_source: &'static str,
    /// Vectors of the page; 0 without a model.
    pub n_vectors: usize,
    /// Its picture.
    pub image_url: String,
    /// Its heat map, to which a query is added; null without vectors.
    pub heatmap_url: Option<String>,
    /// The PDF, open at this page.
    pub file_url: String,
    /// The snapshot that it was read from.
    pub snapshot: u64,
    /// Its words with their places, when they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<Vec<Word>>,
}

/// A word of a page.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Word {
    /// The word.
    pub text: String,
    /// Left, top, right and bottom, points.
    pub rect_pt: [f64; 4],
    /// The line that it stands on, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl PageInfo {
    /// What is known of a page; `with_text` puts its words in.
    pub fn of(served: &Served, page: &Page, n_vectors: usize, with_text: bool) -> Self {
        let urls = Urls::of(served, page);
        let size = page.size();
        Self {
            reference: page.reference().to_string(),
            document: page.document().to_string(),
            path: page.path().into(),
            paths: page.paths().to_vec(),
            page: page.number(),
            page_count: page.page_count(),
            title: page.title().map(String::from),
            size_pt: [size.width_pt, size.height_pt],
            text: with_text.then(|| page.text().into()),
            text_source: page.text_source().as_str(),
            n_vectors,
            image_url: urls.image,
            heatmap_url: (n_vectors > 0).then_some(urls.heatmap),
            file_url: urls.file,
            snapshot: page.snapshot(),
            words: None,
        }
    }
}

/// The URLs of a page.
pub struct Urls {
    pub image: String,
    pub heatmap: String,
    pub file: String,
}

impl Urls {
    /// Those of `page`.
    pub fn of(served: &Served, page: &Page) -> Self {
        let reference = page.reference();
        let file = served.url(&format!("/v1/documents/{}/file", reference.document()));
        Self {
            image: served.url(&format!("/v1/pages/{reference}/image")),
            heatmap: served.url(&format!("/v1/pages/{reference}/heatmap")),
            file: format!("{file}#page={}", page.number()),
        }
    }

    /// The map for `query`.
    pub fn heatmap_of(&self, query: &str) -> String {
        let between = if self.heatmap.contains('?') { '&' } else { '?' };
        format!("{}{between}query={}", self.heatmap, encoded(query))
    }
}

/// A region with the URL of its picture, and its words where they are asked for.
pub fn region_json(
    served: &Served,
    page: &Page,
    region: &pagesight::region::Region,
    with_words: bool,
) -> Value {
    let mut value = records::region(region, with_words);
    let [x0, y0, x1, y1] = pagesight::wire::rect_pt(region.rect);
    let cut = format!("/v1/pages/{}/image?region={x0},{y0},{x1},{y1}", page.reference());
    value["image_url"] = json!(served.url(&cut));
    value
}
