//! `/v1/search`: from the fields of a request to the answer of an index.

use std::time::Instant;

use axum::extract::State;
use pagesight::model::QueryVectors;
use pagesight::region::MapOf;
use pagesight::search::{Answer, Channel, Effort, PageHit, QueryError, Question, Search};
use pagesight::{EncodedQuestion, Error, wire};
use serde_json::{Map, Value, json};

use super::call::Call;
use super::fields::Fields;
use super::json::Json;
use super::problem::{Code, Problem};
use super::served::Served;
use super::state::{App, Shared};
use super::wire::{MOST_HITS, QUERY_BYTES, Urls, region_json};

/// Regions are looked for on so many hits.
const HITS_WITH_REGIONS: usize = 10;

/// The longest URL that we write, bytes: parameters must have room beside it.
const LONGEST_URL: usize = 7_500;

/// Fields of a search that is posted.
pub const FIELDS: [&str; 11] = [
    "query",
    "k",
    "channel",
    "paths",
    "documents",
    "explain",
    "regions",
    "text",
    "all",
    "query_vectors",
    "index",
];

/// Parameters of one that is got.
pub const PARAMETERS: [&str; 9] =
    ["q", "k", "channel", "path", "explain", "regions", "text", "all", "index"];

/// What of a page's text a hit has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    Snippet,
    None,
    Full,
}

/// A search as it was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub query: String,
    pub k: usize,
    pub channels: Option<Vec<Channel>>,
    pub paths: Vec<String>,
    pub documents: Vec<String>,
    pub explain: bool,
    pub regions: usize,
    pub text: Text,
    pub all: bool,
    pub vectors: Option<QueryVectors>,
}

/// The most that a kind of request may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    pub k: u64,
    pub default_k: u64,
    pub regions: u64,
    pub default_regions: u64,
}

/// Of a search over HTTP.
pub const OVER_HTTP: Most = Most { k: MOST_HITS, default_k: 10, regions: 5, default_regions: 0 };

/// A query: trimmed, 1 to 4,096 bytes, without NUL.
///
/// # Errors
/// [`Code::InvalidValue`].
pub fn query_of(text: &str, field: &str) -> Result<String, Problem> {
    let query = text.trim();
    if query.is_empty() || query.len() > QUERY_BYTES {
        let got = format!("{} bytes", query.len());
        return Err(Problem::invalid(field, format!("1 to {QUERY_BYTES} bytes"), got));
    }
    if query.contains('\0') {
        return Err(Problem::invalid(field, "without NUL", "NUL"));
    }
    Ok(query.into())
}

impl Asked {
    /// Reads what is common to searches.
    ///
    /// # Errors
    /// A [`Problem`] that names the field.
    pub fn read(fields: &mut Fields, served: &Served, most: Most) -> Result<Self, Problem> {
        let dim = served.index.snapshot().model().map(|model| model.dim);
        let vectors = fields.vectors("query_vectors", dim)?;
        let query = match fields.text("query")? {
            Some(text) => query_of(&text, "query")?,
            None if vectors.is_some() => String::new(),
            None => return Err(Problem::bad("query", "`query` is missing: what is asked")),
        };
        if vectors.is_some() && dim.is_none() {
            let detail = "the index has no vectors to compare `query_vectors` with";
            return Err(Problem {
                field: Some("query_vectors".into()),
                ..Problem::new(Code::NoModel, detail)
            });
        }
        let channels = fields.choice(
            "channel",
            &[
                ("both", None),
                ("visual", Some(Channel::Patches)),
                ("text", Some(Channel::Words)),
                ("meaning", Some(Channel::Passages)),
            ],
        )?;
        let documents = fields.texts("documents", 1_000, 64)?;
        let is_id = |id: &&String| {
            (8..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit())
        };
        if let Some(wrong) = documents.iter().find(|id| !is_id(id)) {
            return Err(Problem::invalid("documents", "ids of 8 to 64 hexadecimal digits", wrong));
        }
        Ok(Self {
            query,
            k: fields.whole("k", 1..=most.k, most.default_k)? as usize,
            channels: channels.map(|channel| vec![channel]),
            paths: fields.texts("paths", 32, 512)?,
            documents,
            explain: fields.flag("explain", false)?,
            regions: fields.whole("regions", 0..=most.regions, most.default_regions)? as usize,
            text: fields.choice(
                "text",
                &[("snippet", Text::Snippet), ("none", Text::None), ("full", Text::Full)],
            )?,
            all: fields.flag("all", false)?,
            vectors,
        })
    }

    /// The search that this asks of an index.
    ///
    /// # Errors
    /// For a document id that fits several.
    pub fn search(&self, served: &Served) -> Result<Search, Problem> {
        let question = match &self.vectors {
            Some(vectors) => {
                let words = (!self.query.is_empty()).then(|| self.query.clone());
                Question::Vectors { vectors: vectors.clone(), words }
            }
            None => Question::from(&self.query),
        };
        let mut search =
            served.index.search(question).k(self.k).explain(self.explain).all(self.all);
        if let Some(channels) = &self.channels {
            search = search.channels(channels.clone());
        }
        for path in &self.paths {
            search = search.path(path);
        }
        if !self.documents.is_empty() {
            let mut found = Vec::with_capacity(self.documents.len());
            for digits in &self.documents {
                match served.index.document(digits) {
                    Ok(document) => found.push(document),
                    // What is not there is not found.
                    Err(Error::NoSuchDocument { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            search = search.documents(found);
        }
        Ok(search)
    }

    /// The question as the model sees it, for maps and regions; `None` where no model looked.
    pub fn encoded(&self, served: &Served, answer: &Answer) -> Option<EncodedQuestion> {
        match &self.vectors {
            Some(vectors) => Some(EncodedQuestion::of_vectors(vectors.clone(), &self.query)),
            None => answer.model.as_ref().and_then(|_| served.index.encode(&self.query).ok()),
        }
    }

    /// Whether it asks for words and the index has no model for pictures alone.
    fn check_answerable(&self, error: Error) -> Problem {
        match error {
            Error::Query(QueryError::NoModel) => Problem {
                field: Some("channel".into()),
                ..Problem::from(Error::Query(QueryError::NoModel))
            },
            error => error.into(),
        }
    }
}

/// Runs a search and writes its answer, with what belongs to HTTP.
///
/// # Errors
/// What the index says.
pub fn answer(served: &Served, asked: &Asked) -> Result<Value, Problem> {
    let (answer, hits, regions_ms) = run(served, asked)?;
    let mut course = match serde_json::to_value(&answer) {
        Ok(Value::Object(course)) => course,
        _ => return Err(Problem::internal("an answer that is no JSON object")),
    };
    let mut whole = Map::new();
    whole.insert("query".into(), json!(asked.query));
    whole.insert("index".into(), json!(served.name));
    if asked.explain {
        let encoded = asked.encoded(served, &answer);
        whole
            .insert("tokens".into(), json!(encoded.as_ref().map(wire::tokens).unwrap_or_default()));
        let words = encoded.as_ref().map(wire::words).unwrap_or_default();
        whole.insert("words".into(), json!(words));
    }
    course.insert("hits".into(), Value::Array(hits));
    if let Some(Value::Object(ms)) = course.get_mut("ms") {
        ms.insert("regions".into(), json!(regions_ms));
    }
    whole.append(&mut course);
    Ok(Value::Object(whole))
}

/// Runs a search: its answer, the hits as they are written, and the time that regions took, ms.
///
/// # Errors
/// What the index says.
pub fn run(served: &Served, asked: &Asked) -> Result<(Answer, Vec<Value>, f64), Problem> {
    let search = asked.search(served)?;
    let answer = search.run().map_err(|error| asked.check_answerable(error))?;
    observe(&answer);
    let start = Instant::now();
    let encoded = (asked.regions > 0).then(|| asked.encoded(served, &answer)).flatten();
    let mut regions_ms = 0.0;
    let mut hits = Vec::with_capacity(answer.hits.len());
    for (at, hit) in answer.hits.iter().enumerate() {
        let mut written = hit_json(served, hit, asked)?;
        if asked.regions > 0 && at < HITS_WITH_REGIONS {
            let found = match &encoded {
                Some(question) if hit.page.layout().is_some() => {
                    let (of, n) = (MapOf::Question, asked.regions);
                    hit.page.regions_or_patches(question, of, n).map_err(Problem::from)?
                }
                _ => Vec::new(),
            };
            let found = found.iter().map(|region| region_json(served, &hit.page, region, false));
            written["regions"] = Value::Array(found.collect());
            regions_ms = wire::ms(start.elapsed());
        }
        hits.push(written);
    }
    if asked.regions > 0 {
        metrics::histogram!("pagesight_search_stage_seconds", "stage" => "regions")
            .record(start.elapsed().as_secs_f64());
    }
    Ok((answer, hits, regions_ms))
}

fn observe(answer: &Answer) {
    let record = |stage: &'static str, time: std::time::Duration| {
        metrics::histogram!("pagesight_search_stage_seconds", "stage" => stage)
            .record(time.as_secs_f64());
    };
    record("encode", answer.timings.encode);
    record("scan", answer.work.scan);
    record("rerank", answer.work.rerank);
    record("text", answer.time_of(Channel::Words));
}

/// A hit as the library writes it, with title, URLs, and as much text as was asked for.
fn hit_json(served: &Served, hit: &PageHit, asked: &Asked) -> Result<Value, Problem> {
    let mut value = match serde_json::to_value(hit) {
        Ok(Value::Object(hit)) => hit,
        _ => return Err(Problem::internal("a hit that is no JSON object")),
    };
    let page = &hit.page;
    let urls = Urls::of(served, page);
    let has_map = page.layout().is_some() && !asked.query.is_empty();
    value.insert("title".into(), json!(page.title()));
    value.insert("page_count".into(), json!(page.page_count()));
    value.insert("image_url".into(), json!(urls.image));
    // A long question is posted: no target is as long as it is, written with %XX.
    let heatmap = has_map.then(|| urls.heatmap_of(&asked.query));
    let heatmap = heatmap.filter(|url| url.len() <= LONGEST_URL);
    value.insert("heatmap_url".into(), json!(heatmap));
    value.insert("file_url".into(), json!(urls.file));
    match asked.text {
        Text::Snippet => {}
        Text::None => {
            value.shift_remove("snippet");
            value.shift_remove("marks");
        }
        Text::Full => {
            value.insert("page_text".into(), json!(page.text()));
        }
    }
    Ok(Value::Object(value))
}

/// Runs a search in a place of its own.
///
/// # Errors
/// What the index says, [`Code::TooBusy`], [`Code::Deadline`].
pub async fn ask(app: &App, served: &Served, asked: Asked) -> Result<Value, Problem> {
    if app.options.log_queries {
        super::log::query(app, &asked.query);
    }
    let served = served.clone();
    app.searches.run(app.deadline(), move |_| answer(&served, &asked)).await
}

/// `POST /v1/search`.
pub async fn post(State(app): State<Shared>, mut call: Call) -> Result<Json<Value>, Problem> {
    let mut fields = call.json(&FIELDS).await?;
    let served = app.index(fields.text("index")?.as_deref())?;
    let asked = Asked::read(&mut fields, served, OVER_HTTP)?;
    Ok(Json(ask(&app, served, asked).await?))
}

/// `GET /v1/search`.
pub async fn get(State(app): State<Shared>, call: Call) -> Result<Json<Value>, Problem> {
    let mut fields = call.query(&PARAMETERS, &["path"])?;
    let served = app.index(fields.text("index")?.as_deref())?;
    // The same fields under shorter names.
    for (parameter, field) in [("q", "query"), ("path", "paths")] {
        fields.rename(parameter, field);
    }
    let asked = Asked::read(&mut fields, served, OVER_HTTP).map_err(as_parameter)?;
    Ok(Json(ask(&app, served, asked).await.map_err(as_parameter)?))
}

/// A problem with a field, under the name that its parameter has in a query string.
pub fn as_parameter(problem: Problem) -> Problem {
    let parameter = match problem.field.as_deref() {
        Some("query") => "q",
        Some("paths") => "path",
        _ => return problem,
    };
    let detail = problem.detail.replace("`query`", "`q`").replace("`paths`", "`path`");
    Problem { field: Some(parameter.into()), detail, ..problem }
}

/// Encodes a first query, so that the model is loaded and warm.
///
/// # Errors
/// What loading the model says.
pub fn warm(served: &Served) -> Result<(), Error> {
    if served.index.snapshot().model().is_some() {
        served.index.encode("warm")?;
    }
    // Maps the codes and opens the words.
    served.index.search("warm").k(1).effort(Effort::Auto).run()?;
    Ok(())
}
