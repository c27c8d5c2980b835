//! Indexes.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use pagesight::context::{Context, PICTURE, PICTURES, Scope};
use pagesight::index::{BatchSize, DocumentStatus, Limits, PathFilter, SyncOptions};
use pagesight::machine::{self, Machine};
use pagesight::model::{
    Device, EncodedPage, LoadOptions, ModelId, ModelRecord, ModelSource, PageVectors, PatchLayout,
    Precision, Run, Slices,
};
use pagesight::pdf::{OcrChoice, RenderOptions, Sandbox};
use pagesight::records::{self, HitText};
use pagesight::search::Channel;
use pagesight::{Error, PageRef};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::{Value, json};

use crate::answer::{Answer, Wanted};
use crate::errors::{invalid, no_page, unavailable};
use crate::machine::machine as found;
use crate::page::Page;
use crate::process;
use crate::question::{Question, or_raise};
use crate::rows::Rows;
use crate::sync;
use crate::values::{path, text, to_python};
use crate::vectors::QueryVectors;

/// The most hits of a search.
const MOST_HITS: usize = 10_000;

/// An index as the engine has it.
#[pyclass(frozen, module = "pagesight._pagesight")]
pub struct Index {
    /// `None` once it was closed.
    handle: RwLock<Option<pagesight::Index>>,
    machine: Machine,
    /// What is done about the meaning of the text, as `pagesight index --meaning`.
    meaning: String,
}

/// How an index is opened.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Opening<'py> {
    model: Option<Bound<'py, PyAny>>,
    device: String,
    precision: Option<String>,
    recipe: Option<Bound<'py, PyAny>>,
    slices: Option<String>,
    meaning: String,
    passwords: Vec<String>,
    sandbox: String,
}

/// How a run of indexing goes.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Running {
    workers: Option<usize>,
    retry_failed: bool,
    drop_emptied: bool,
    ocr: String,
    ocr_languages: Option<String>,
    look_first: f64,
    max_pages: u32,
    max_file_bytes: u64,
    commit_every: usize,
}

/// What a search is asked beside its question.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Asking<'py> {
    k: usize,
    channel: String,
    paths: Vec<Bound<'py, PyAny>>,
    documents: Vec<String>,
    all: bool,
    explain: bool,
    regions: usize,
    text: String,
}

#[pymethods]
impl Index {
    /// Opens the index in `folder`; `make` says whether it may or must be made: `open`, `create` or
    /// `either`.
    #[staticmethod]
    fn open(
        py: Python<'_>,
        folder: &Bound<'_, PyAny>,
        make: &str,
        options: &Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        process::enter(py)?;
        let folder = path(folder, "path")?;
        let options: Opening<'_> = options.extract()?;
        let machine = found(py)?;
        let loading = loading(py, &options)?;
        let slices = options.slices.as_deref().map(|text| {
            text.parse::<Slices>().map_err(|error| invalid(py, "slices", &error.to_string()))
        });
        let slices = slices.transpose()?;
        let model = options.model.as_ref().map(|model| path(model, "model")).transpose()?;
        let sandbox = match options.sandbox.as_str() {
            "require" => Sandbox::Require,
            "best-effort" => Sandbox::BestEffort,
            "off" => Sandbox::Off,
            _ => return Err(invalid(py, "sandbox", "\"require\", \"best-effort\" or \"off\"")),
        };
        let renderer = RenderOptions { sandbox, ..machine.renderer(&options.passwords) };
        let opened = py.detach(|| {
            let index = match make {
                "create" => pagesight::Index::create(&folder)?,
                "either" => pagesight::Index::open_or_create(&folder)?,
                _ => pagesight::Index::open(&folder)?,
            };
            index.set_renderer(renderer);
            index.set_ocr_weights(machine.ocr_weights());
            index.set_embedding(machine.embedding());
            load(&index, model.as_deref(), loading, slices, make != "open")?;
            Ok(index)
        });
        let handle = RwLock::new(Some(or_raise(py, opened)?));
        Ok(Self { handle, machine, meaning: options.meaning })
    }

    /// Makes an index for vectors of `dim` numbers of the model `model_id`, made elsewhere.
    #[staticmethod]
    fn create_for(
        py: Python<'_>,
        folder: &Bound<'_, PyAny>,
        dim: usize,
        model_id: &Bound<'_, PyAny>,
        passwords: Vec<String>,
    ) -> PyResult<Self> {
        process::enter(py)?;
        let folder = path(folder, "path")?;
        if !(1..=65_536).contains(&dim) {
            return Err(invalid(py, "dim", &format!("1 to 65,536, got {dim}")));
        }
        let id = text(model_id, "model_id")?;
        if id.trim().is_empty() || id.len() > 200 {
            return Err(invalid(py, "model_id", "1 to 200 bytes of text"));
        }
        let machine = found(py)?;
        let made = py.detach(|| {
            let record = ModelRecord::new(ModelId(id), dim);
            let index = pagesight::Index::create_for(&folder, record)?;
            index.set_renderer(machine.renderer(&passwords));
            index.set_ocr_weights(machine.ocr_weights());
            index.set_embedding(machine.embedding());
            Ok(index)
        });
        let handle = RwLock::new(Some(or_raise(py, made)?));
        Ok(Self { handle, machine, meaning: "auto".into() })
    }

    /// Lets go of the index; later calls raise.
    fn close(&self, py: Python<'_>) {
        let handle = self.handle.write().unwrap_or_else(PoisonError::into_inner).take();
        py.detach(|| drop(handle));
    }

    /// The index folder, absolute.
    fn folder(&self, py: Python<'_>) -> PyResult<PathBuf> {
        Ok(self.opened(py)?.folder().to_path_buf())
    }

    /// Brings the index in step with `folders`.
    fn sync<'py>(
        &self,
        py: Python<'py>,
        folders: Vec<Bound<'py, PyAny>>,
        progress: Option<Bound<'py, PyAny>>,
        options: &Bound<'py, PyDict>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let index = self.opened(py)?;
        let running: Running = options.extract()?;
        let folders = folders.iter().map(|folder| path(folder, "folder"));
        let folders = folders.collect::<PyResult<Vec<_>>>()?;
        let ocr = match running.ocr.as_str() {
            "auto" => OcrChoice::Auto,
            "embedded" => OcrChoice::Embedded,
            "tesseract" => OcrChoice::Tesseract,
            "off" => OcrChoice::Off,
            _ => return Err(invalid(py, "ocr", "auto, embedded, tesseract or off")),
        };
        let look_first = Duration::try_from_secs_f64(running.look_first);
        let look_first = look_first.map_err(|_| invalid(py, "look_first", "seconds, 0 or more"))?;
        let index = or_raise(py, py.detach(|| with_meaning(index, &self.meaning, &self.machine)))?;
        let options = SyncOptions {
            workers: running.workers,
            retry_failed: running.retry_failed,
            drop_emptied: running.drop_emptied,
            ocr,
            ocr_languages: running.ocr_languages,
            links_out: true,
            look_first: Some(look_first),
            limits: Limits {
                file_bytes: running.max_file_bytes,
                pages: running.max_pages,
                ..Limits::default()
            },
            batch: BatchSize { pages: running.commit_every, ..BatchSize::default() },
            stop: sync::flag(),
        };
        sync::run(py, index, folders, options, progress)
    }

    /// Takes in one PDF with vectors that were made elsewhere.
    #[pyo3(signature = (pdf, vectors, grid))]
    fn add(
        &self,
        py: Python<'_>,
        pdf: &Bound<'_, PyAny>,
        vectors: Vec<Bound<'_, PyAny>>,
        grid: Option<(u32, u32)>,
    ) -> PyResult<()> {
        let index = self.opened(py)?;
        let pdf = path(pdf, "pdf")?;
        let dim = index.snapshot().model().map(|model| model.dim);
        if grid.is_some_and(|(columns, rows)| columns == 0 || rows == 0) {
            return Err(invalid(py, "grid", "columns and rows of 1 or more"));
        }
        let mut pages = Vec::with_capacity(vectors.len());
        for (array, page) in vectors.iter().zip(1..) {
            let rows = Rows::of(array, &format!("vectors of page {page}"), dim)?;
            let layout = match grid {
                Some((columns, rows)) => PatchLayout::grid(columns, rows),
                None => PatchLayout::new(vec![Run::Text(rows.len() as u32)]),
            };
            let page = PageVectors::from_f32(rows.dim, &rows.values)
                .and_then(|vectors| EncodedPage::new(vectors, layout));
            pages.push(or_raise(py, page.map_err(Error::from))?);
        }
        or_raise(py, py.detach(|| index.add(&pdf, pages)))
    }

    /// Ranks pages.
    fn search(
        &self,
        py: Python<'_>,
        query: Option<&Bound<'_, PyAny>>,
        query_vectors: Option<&Bound<'_, PyAny>>,
        options: &Bound<'_, PyDict>,
    ) -> PyResult<Answer> {
        let index = self.opened(py)?;
        let asking: Asking<'_> = options.extract()?;
        let question = question(py, &index, query, query_vectors)?;
        let (search, wanted) = search(py, &index, &question, &asking)?;
        let answer = py.detach(|| {
            let answer = search()?.run()?;
            Answer::new(index.clone(), question, wanted, answer)
        });
        or_raise(py, answer)
    }

    /// Sources for an answer: the record, and the pictures of the first `images` of them.
    #[allow(
        clippy::type_complexity,
        clippy::too_many_arguments,
        reason = "the fields of a request"
    )]
    #[pyo3(signature = (query, query_vectors, options, scope, budget_chars, images, image_width))]
    fn context<'py>(
        &self,
        py: Python<'py>,
        query: Option<&Bound<'py, PyAny>>,
        query_vectors: Option<&Bound<'py, PyAny>>,
        options: &Bound<'py, PyDict>,
        scope: &str,
        budget_chars: usize,
        images: usize,
        image_width: u32,
    ) -> PyResult<(Bound<'py, PyAny>, Vec<Option<(Vec<u8>, u32, u32)>>)> {
        let index = self.opened(py)?;
        let asking: Asking<'_> = options.extract()?;
        let question = question(py, &index, query, query_vectors)?;
        let (search, _) = search(py, &index, &question, &asking)?;
        let scope = match scope {
            "auto" => Scope::Auto,
            "page" => Scope::Page,
            "region" => Scope::Region,
            _ => return Err(invalid(py, "scope", "\"auto\", \"page\" or \"region\"")),
        };
        let made = py.detach(|| {
            let answer = search()?.run()?;
            let encoded = match (&question.vectors, &answer.model) {
                (None, None) => None,
                _ => question.encoded(&index, Channel::Patches).ok(),
            };
            let context = Context::of(&answer, encoded.as_ref(), scope, budget_chars)?;
            let pictured = context.sources.len().min(images);
            let most = PICTURE.min(PICTURES / pictured.max(1));
            let pictures = context.sources.iter().take(images).map(|source| {
                let stop = std::sync::Arc::default();
                let page = &source.page;
                let made = pagesight::picture::jpeg_within(page, image_width, None, most, &stop);
                made.ok().map(|made| (made.bytes, made.width_px, made.height_px))
            });
            let pictures: Vec<_> = pictures.collect();
            Ok((written(&context), pictures))
        });
        let (record, pictures) = or_raise(py, made)?;
        Ok((to_python(py, &record)?, pictures))
    }

    /// A page: by its path and number, or by its reference, or as `path#page`.
    #[pyo3(signature = (page, number))]
    fn page(&self, py: Python<'_>, page: &Bound<'_, PyAny>, number: Option<u32>) -> PyResult<Page> {
        let index = self.opened(py)?;
        let named = path(page, "page")?;
        let name = named.to_string_lossy().into_owned();
        let found = py.detach(|| match number {
            Some(number) => Ok(at(&index, &named, &name, number)),
            None => match (name.parse::<PageRef>(), name.rsplit_once('#')) {
                (Ok(reference), _) => Ok(index.page_by_ref(&reference)),
                (Err(error), None) => Err(error.to_string()),
                (Err(error), Some((path, number))) => match number.parse() {
                    Ok(number) => Ok(at(&index, Path::new(path), path, number)),
                    Err(_) => Err(error.to_string()),
                },
            },
        });
        let found = found.map_err(|detail| no_page(py, &detail))?;
        Ok(Page { page: or_raise(py, found)?, index, asked: None })
    }

    /// Encodes questions with the model of the index.
    fn encode_queries(
        &self,
        py: Python<'_>,
        queries: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<Vec<QueryVectors>> {
        let index = self.opened(py)?;
        let queries = queries.iter().map(|query| text(query, "queries"));
        let queries = queries.collect::<PyResult<Vec<_>>>()?;
        let encoded = py.detach(|| {
            let model = index.model()?.ok_or(Error::NoModel)?;
            let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
            model
                .encode_queries(&queries)
                .map_err(|error| Error::Query(pagesight::search::QueryError::Encode(error)))
        });
        Ok(or_raise(py, encoded)?.into_iter().map(QueryVectors).collect())
    }

    /// The ledger: of all documents, or of those in a state and at paths that match a glob.
    fn documents<'py>(
        &self,
        py: Python<'py>,
        status: Option<&str>,
        paths: Vec<String>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let index = self.opened(py)?;
        let status = status.map(|word| {
            let found = DocumentStatus::parse(word);
            found.ok_or_else(|| invalid(py, "status", "ok, partial, failed or in_progress"))
        });
        let status = status.transpose()?;
        let found = py.detach(|| {
            index.refresh()?;
            let records = index.documents()?;
            let filter = match &paths[..] {
                [] => None,
                paths => {
                    let known = |path: &str| records.iter().any(|record| record.path == path);
                    Some(PathFilter::of_ledger(paths, known)?)
                }
            };
            let wanted = records.iter().filter(|record| {
                status.is_none_or(|status| record.status == status)
                    && filter.as_ref().is_none_or(|filter| filter.matches(&record.path))
            });
            Ok(Value::Array(wanted.map(|record| records::document(record, |_| None)).collect()))
        });
        to_python(py, &or_raise(py, found)?)
    }

    /// What is known of the index.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let index = self.opened(py)?;
        let record = py.detach(|| {
            index.refresh()?;
            records::index(&index, &index.name(), true)
        });
        to_python(py, &or_raise(py, record)?)
    }

    /// Looks for a newer snapshot now.
    fn refresh(&self, py: Python<'_>) -> PyResult<()> {
        let index = self.opened(py)?;
        or_raise(py, py.detach(|| index.refresh()))
    }

    /// Loads the model and encodes a question, so that the first search need not.
    fn warm(&self, py: Python<'_>) -> PyResult<()> {
        let index = self.opened(py)?;
        let warmed = py.detach(|| {
            if index.snapshot().model().is_some_and(|model| model.source.is_some()) {
                index.encode("warm")?;
            }
            index.search("warm").k(1).run().map(drop)
        });
        or_raise(py, warmed)
    }
}

impl Index {
    fn opened(&self, py: Python<'_>) -> PyResult<pagesight::Index> {
        process::enter(py)?;
        let handle = self.handle.read().unwrap_or_else(PoisonError::into_inner).clone();
        handle.ok_or_else(|| unavailable(py, "the index was closed"))
    }
}

/// How the model is loaded.
fn loading(py: Python<'_>, options: &Opening<'_>) -> PyResult<LoadOptions> {
    let device: Device = options.device.parse().map_err(|_| {
        invalid(py, "device", &format!("auto, cpu, cuda or metal, got {:?}", options.device))
    })?;
    if !device.is_built_in() {
        let what = format!("a device that this build of pagesight has, and it has no {device}");
        return Err(invalid(py, "device", &what));
    }
    let precision = options.precision.as_deref().map(|name| {
        name.parse::<Precision>().map_err(|error| invalid(py, "precision", &error.to_string()))
    });
    let recipe = options.recipe.as_ref().map(|recipe| {
        let name = path(recipe, "recipe")?;
        machine::recipe(&name)
            .ok_or_else(|| invalid(py, "recipe", "a recipe of pagesight or a JSON file"))
    });
    Ok(LoadOptions {
        device,
        precision: precision.transpose()?,
        recipe: recipe.transpose()?,
        ..machine::loading()
    })
}

/// Gives `index` the model that was named; a new one gets nano where none was. The model that an
/// index remembers is loaded when it is first needed.
fn load(
    index: &pagesight::Index,
    name: Option<&Path>,
    loading: LoadOptions,
    slices: Option<Slices>,
    may_be_new: bool,
) -> Result<(), Error> {
    index.set_loading(loading.clone());
    let stored = index.snapshot().model().cloned();
    let is_new = may_be_new && stored.is_none() && index.snapshot().documents() == 0;
    let source = match name {
        Some(name) if name == Path::new("none") => None,
        Some(name) => Some(machine::models().find(name)?),
        None => is_new.then_some(ModelSource::Nano),
    };
    let Some(source) = source else { return Ok(()) };
    let is_stored = stored.is_some_and(|stored| stored.source.as_ref() == Some(&source));
    let says_more = slices.is_some() || loading.recipe.is_some() || loading.precision.is_some();
    if is_stored && !says_more {
        return Ok(());
    }
    index.load_model(&source, &LoadOptions { slices, ..loading })
}

/// Says what a run does about the meaning of the text, as the program does.
fn with_meaning(
    index: pagesight::Index,
    meaning: &str,
    machine: &Machine,
) -> Result<pagesight::Index, Error> {
    let options = machine.embedding();
    let source = match meaning {
        "off" => return Ok(index.without_meaning()),
        "auto" => {
            let snapshot = index.snapshot();
            match snapshot.embedder().map(|record| record.source.clone()) {
                Some(Some(ModelSource::MiniLm)) if options.shipped.is_some() => ModelSource::MiniLm,
                Some(_) => return Ok(index),
                None if snapshot.wants_no_passages() => return Ok(index),
                None if options.shipped.is_some() => ModelSource::MiniLm,
                None => return Ok(index),
            }
        }
        "minilm" if options.shipped.is_some() => ModelSource::MiniLm,
        name => machine::models().find(Path::new(name.strip_prefix("hub:").unwrap_or(name)))?,
    };
    index.load_embedder(&source, &options)?;
    Ok(index)
}

fn question(
    py: Python<'_>,
    index: &pagesight::Index,
    query: Option<&Bound<'_, PyAny>>,
    query_vectors: Option<&Bound<'_, PyAny>>,
) -> PyResult<Question> {
    let dim = index.snapshot().model().map(|model| model.dim);
    if query_vectors.is_some() && dim.is_none() {
        return or_raise(py, Err(Error::NoModel));
    }
    Question::given(query, query_vectors, dim)?
        .ok_or_else(|| invalid(py, "query", "given, or `query_vectors`"))
}

/// The search that is asked, made without the interpreter since ids of documents are looked up, and
/// what is wanted of its hits.
fn search<'a>(
    py: Python<'_>,
    index: &'a pagesight::Index,
    question: &Question,
    asking: &Asking<'_>,
) -> PyResult<(impl FnOnce() -> Result<pagesight::search::Search, Error> + use<'a>, Wanted)> {
    if !(1..=MOST_HITS).contains(&asking.k) {
        return Err(invalid(py, "k", &format!("1 to {MOST_HITS}, got {}", asking.k)));
    }
    if asking.regions > 5 {
        return Err(invalid(py, "regions", &format!("0 to 5, got {}", asking.regions)));
    }
    let channels = match asking.channel.as_str() {
        "both" => None,
        "visual" => Some([Channel::Patches]),
        "text" => Some([Channel::Words]),
        _ => return Err(invalid(py, "channel", "\"both\", \"visual\" or \"text\"")),
    };
    let text_of = match asking.text.as_str() {
        "snippet" => HitText::Snippet,
        "none" => HitText::None,
        "full" => HitText::Full,
        _ => return Err(invalid(py, "text", "\"snippet\", \"none\" or \"full\"")),
    };
    let is_id = |id: &&String| {
        (8..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    if let Some(wrong) = asking.documents.iter().find(|id| !is_id(id)) {
        let what = format!("ids of 8 to 64 hexadecimal digits, got {wrong:?}");
        return Err(invalid(py, "documents", &what));
    }
    let paths = asking.paths.iter().map(|path| text(path, "paths"));
    let paths = paths.collect::<PyResult<Vec<_>>>()?;
    let mut search = index.search(question.searched()).k(asking.k);
    search = search.all(asking.all).explain(asking.explain);
    if let Some(channels) = channels {
        search = search.channels(channels);
    }
    for glob in paths {
        search = search.path(glob);
    }
    let documents = asking.documents.clone();
    let wanted = Wanted { text: text_of, regions: asking.regions, explain: asking.explain };
    let finish = move || {
        if documents.is_empty() {
            return Ok(search);
        }
        let mut found = Vec::with_capacity(documents.len());
        for digits in &documents {
            match index.document(digits) {
                Ok(document) => found.push(document),
                // What is not there is not found.
                Err(Error::NoSuchDocument { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(search.documents(found))
    };
    Ok((finish, wanted))
}

/// Page `number` at a ledger path, or of a file on this machine.
fn at(
    index: &pagesight::Index,
    named: &Path,
    name: &str,
    number: u32,
) -> Result<pagesight::search::Page, Error> {
    match index.page(name, number) {
        Err(Error::NoSuchDocument { .. }) if named.is_absolute() => {
            index.page(&index.ledger_path(named), number)
        }
        found => found,
    }
}

fn written(context: &Context) -> Value {
    let sources = context.sources.iter().map(|source| {
        let page = &source.page;
        let regions = source.regions.iter().map(|region| records::region(region, false));
        json!({
            "n": source.number,
            "ref": page.reference().to_string(),
            "path": page.path(),
            "page": page.number(),
            "citation": source.citation(),
            "score": source.score,
            "text": source.text,
            "text_truncated": source.truncated,
            "regions": regions.collect::<Vec<_>>(),
            "image": null,
        })
    });
    json!({
        "sources": sources.collect::<Vec<_>>(),
        "prompt": context.prompt,
        "chars": context.chars,
        "snapshot": context.snapshot,
        "model_id": context.model,
        "notice": context.notice,
    })
}
