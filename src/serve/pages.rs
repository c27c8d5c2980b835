//! Pages: what they say, how they look, where a question is answered on them.

use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use pagesight::model::PageImage;
use pagesight::pdf::PdfError;
use pagesight::picture::{self, Format, Picture};
use pagesight::region::{HeatScale, MapOf, PageHeat};
use pagesight::search::{Channel, Page, Rect};
use pagesight::{EncodedQuestion, Error, PageRef, records, wire};
use serde_json::{Value, json};

use super::cache::Encoded;
use super::call::{Call, has};
use super::fields::Fields;
use super::json::Json;
use super::problem::{Code, Problem};
use super::search::query_of;
use super::served::Served;
use super::state::{App, Shared};
use super::wire::{PageInfo, WIDEST, Word, region_json};

/// The widest map, px.
const WIDEST_MAP: u64 = 2_048;

/// Pictures do not change: they name bytes.
const KEPT_A_DAY: &str = "private, max-age=86400";

/// The page that a reference names.
///
/// # Errors
/// [`Code::PageNotFound`], [`Code::AmbiguousRef`].
pub fn page_of(served: &Served, reference: &str) -> Result<Page, Problem> {
    let named: PageRef = reference.parse().map_err(|error: pagesight::ParseRefError| {
        Problem::new(Code::PageNotFound, error.to_string())
    })?;
    served.index.page_by_ref(&named).map_err(|error| match error {
        Error::NoSuchDocument { .. } => {
            let detail = format!("no document of the index begins with {}", named.document());
            Problem::new(Code::PageNotFound, detail)
        }
        error => error.into(),
    })
}

/// `GET /v1/pages/{ref}`.
pub async fn info(State(app): State<Shared>, call: Call) -> Result<Json<PageInfo>, Problem> {
    let mut fields = call.query(&["words", "index"], &[])?;
    let with_words = fields.flag("words", false)?;
    let served = app.index(fields.text("index")?.as_deref())?.clone();
    let reference = call.path("ref").to_string();
    let info = app.draws.run(app.deadline(), move |_| {
        let page = page_of(&served, &reference)?;
        let mut info = PageInfo::of(&served, &page, n_vectors(&served, &page)?, true);
        if with_words {
            let words = page.words()?.into_iter().map(|word| Word {
                text: word.text,
                rect_pt: wire::rect_pt(word.rect),
                line: Some(word.line),
            });
            info.words = Some(words.collect());
        }
        Ok(info)
    });
    Ok(Json(info.await?))
}

/// Vectors of a page, 0 without.
///
/// # Errors
/// What the store says.
pub fn n_vectors(served: &Served, page: &Page) -> Result<usize, Problem> {
    if page.layout().is_none() {
        return Ok(0);
    }
    Ok(served.index.vectors(page.id())?.map_or(0, |encoded| encoded.vectors().len()))
}

/// `GET /v1/pages/{ref}/image`.
pub async fn image(State(app): State<Shared>, call: Call) -> Result<Response<Body>, Problem> {
    let known = ["width", "format", "quality", "region", "index"];
    let mut fields = call.query(&known, &[])?;
    let width = fields.whole("width", 16..=WIDEST, 1200)? as u32;
    let formats = [("webp", Format::WebP), ("png", Format::Png), ("jpeg", Format::Jpeg(85))];
    let format = fields.choice("format", &formats)?;
    let quality = fields.whole("quality", 1..=100, 85)? as u8;
    let format = if let Format::Jpeg(_) = format { Format::Jpeg(quality) } else { format };
    let region = fields.rectangle("region")?;
    let served = app.index(fields.text("index")?.as_deref())?.clone();
    let page = page_in_place(&app, &served, call.path("ref")).await?;
    let region = region.map(|region| cut_to(region, &page)).transpose()?;
    let key = format!(
        "image {} {} {} {width} {format:?} {region:?}",
        served.name,
        page.document(),
        page.number(),
    );
    let etag = etag_of(&key);
    if has(&call.headers, &etag) {
        return Ok(not_modified(&etag));
    }
    let make = draw(&app, page, width, region, format);
    let encoded = app.cache.get_or_make("image", &key, make).await?;
    Ok(answered(&encoded, &etag))
}

/// The page that a reference names, read in a place of its own.
async fn page_in_place(app: &App, served: &Served, reference: &str) -> Result<Page, Problem> {
    let (served, reference) = (served.clone(), reference.to_string());
    app.draws.run(app.deadline(), move |_| page_of(&served, &reference)).await
}

/// A region of a request, cut to its page.
///
/// # Errors
/// [`Code::InvalidValue`] when nothing of it is on the page.
pub fn cut_to(region: [f32; 4], page: &Page) -> Result<Rect, Problem> {
    let [x0, y0, x1, y1] = region;
    let size = page.size();
    let rect = Rect {
        x0: x0.max(0.0),
        y0: y0.max(0.0),
        x1: x1.min(size.width_pt),
        y1: y1.min(size.height_pt),
    };
    if rect.x0 < rect.x1 && rect.y0 < rect.y1 {
        return Ok(rect);
    }
    let limit = format!("a box on the page, which is {} x {} pt", size.width_pt, size.height_pt);
    Err(Problem::invalid("region", limit, format!("{x0},{y0},{x1},{y1}")))
}

/// Draws and encodes a page, or a part of it, `width` px wide.
pub async fn draw(
    app: &App,
    page: Page,
    width: u32,
    region: Option<Rect>,
    format: Format,
) -> Result<Encoded, Problem> {
    let start = Instant::now();
    let drawn = app.draws.run(app.deadline(), move |stop| {
        let drawn = drawn(&page, width, region, stop)?;
        Ok(picture::encode(&drawn, format)?.into())
    });
    let drawn = drawn.await;
    metrics::histogram!("pagesight_draw_seconds").record(start.elapsed().as_secs_f64());
    drawn
}

/// The pixels of a page, or a part of it, `width` px wide.
///
/// # Errors
/// [`Code::DrawFailed`], [`Code::FileGone`], [`Code::FileChanged`].
pub fn drawn(
    page: &Page,
    width: u32,
    region: Option<Rect>,
    stop: &std::sync::Arc<std::sync::atomic::AtomicBool>,
) -> Result<PageImage, Problem> {
    let drawn = match region {
        None => page.image_until(width, stop).map(Some),
        Some(rect) => page.image_of(rect, width, stop),
    };
    let none = || Problem::internal("a region that was cut to the page is not on it");
    drawn.map_err(not_drawn)?.ok_or_else(none)
}

/// The problem of a page that could not be drawn; how its worker ended is counted.
pub fn not_drawn(error: Error) -> Problem {
    if let Error::Draw { source: PdfError::Failed(failure), .. } = &error {
        let reason = failure.kind.as_str();
        metrics::counter!("pagesight_draw_workers_ended_total", "reason" => reason).increment(1);
    }
    error.into()
}

impl From<Picture> for Encoded {
    fn from(picture: Picture) -> Self {
        let Picture { bytes, mime_type: kind, width_px, height_px, .. } = picture;
        Self { bytes: Bytes::from(bytes), kind, width_px, height_px }
    }
}

/// A strong tag of what `key` names.
pub fn etag_of(key: &str) -> String {
    format!("\"{}\"", &blake3::hash(key.as_bytes()).to_hex()[..32])
}

fn not_modified(etag: &str) -> Response<Body> {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    set(&mut response, ETAG, etag);
    set(&mut response, CACHE_CONTROL, KEPT_A_DAY);
    response
}

fn answered(encoded: &Encoded, etag: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(encoded.bytes.clone()));
    set(&mut response, CONTENT_TYPE, encoded.kind);
    set(&mut response, ETAG, etag);
    set(&mut response, CACHE_CONTROL, KEPT_A_DAY);
    response
}

fn set(response: &mut Response<Body>, name: axum::http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// A map as it was asked for.
struct AskedMap {
    question: MapQuestion,
    of: MapOf,
    width: u32,
    json: bool,
    smooth: bool,
    scale: HeatScale,
}

/// The question of a map or of regions.
#[derive(Debug, Clone)]
pub enum MapQuestion {
    Words(String),
    /// Words, for the meaning of the page's text.
    Meaning(String),
    Vectors(EncodedQuestion),
}

/// Fields of a map.
pub const MAP: [&str; 10] = [
    "query",
    "query_vectors",
    "channel",
    "word",
    "token",
    "width",
    "format",
    "smooth",
    "scale",
    "index",
];

/// Of what a map is made.
pub const MAP_CHANNELS: [(&str, Channel); 2] =
    [("visual", Channel::Patches), ("meaning", Channel::Passages)];

impl AskedMap {
    fn read(fields: &mut Fields, served: &Served) -> Result<Self, Problem> {
        let dim = served.index.snapshot().model().map(|model| model.dim);
        let vectors = fields.vectors("query_vectors", dim)?;
        let query = fields.text("query")?.map(|text| query_of(&text, "query")).transpose()?;
        let question = match (query, vectors, fields.choice("channel", &MAP_CHANNELS)?) {
            (_, Some(_), Channel::Passages) => {
                return Err(Problem::bad(
                    "channel",
                    "vectors of your own are compared with patches",
                ));
            }
            (query, Some(vectors), _) => MapQuestion::Vectors(EncodedQuestion::of_vectors(
                vectors,
                query.unwrap_or_default(),
            )),
            (Some(query), None, channel) => MapQuestion::of(query, channel),
            (None, None, _) => {
                return Err(Problem::bad("query", "`query` is missing: what is asked"));
            }
        };
        let (word, token) = (
            fields.whole_if("word", 0..=u64::from(u32::MAX))?,
            fields.whole_if("token", 0..=u64::from(u32::MAX))?,
        );
        let of = match (word, token) {
            (None, None) => MapOf::Question,
            (Some(word), None) => MapOf::Word(word as usize),
            (None, Some(token)) => MapOf::Token(token as usize),
            (Some(_), Some(_)) => {
                return Err(Problem::bad("token", "give `word` or `token`, not both"));
            }
        };
        Ok(Self {
            question,
            of,
            width: fields.whole("width", 16..=WIDEST_MAP, 800)? as u32,
            json: fields.choice("format", &[("png", false), ("json", true)])?,
            smooth: fields.flag("smooth", true)?,
            scale: fields
                .choice("scale", &[("page", HeatScale::Page), ("absolute", HeatScale::Absolute)])?,
        })
    }
}

impl MapQuestion {
    /// A question in words, for the vectors of `channel`.
    pub fn of(query: String, channel: Channel) -> Self {
        if channel == Channel::Passages { Self::Meaning(query) } else { Self::Words(query) }
    }

    /// As the model of its channel sees it, for a map of `page`.
    ///
    /// # Errors
    /// For a page without vectors of pictures, and what loading the model says.
    pub fn encoded(&self, served: &Served, page: &Page) -> Result<EncodedQuestion, Problem> {
        match self {
            Self::Vectors(question) => Ok(question.clone()),
            // A page without vectors has no map, whatever the model.
            Self::Words(_) if page.layout().is_none() => {
                Err(Error::NoVectors { path: page.path().into(), page: page.number() }.into())
            }
            Self::Words(query) => Ok(served.index.encode(query)?),
            Self::Meaning(query) => Ok(served.index.encode_meaning(query)?),
        }
    }

    fn key(&self) -> String {
        match self {
            Self::Words(query) => format!("words {query}"),
            Self::Meaning(query) => format!("meaning {query}"),
            Self::Vectors(question) => {
                let values = question.vectors().values().iter().flat_map(|x| x.to_le_bytes());
                let bytes: Vec<u8> = values.collect();
                format!("vectors {} {}", blake3::hash(&bytes).to_hex(), question.text())
            }
        }
    }
}

/// `GET /v1/pages/{ref}/heatmap`.
pub async fn get_heatmap(State(app): State<Shared>, call: Call) -> Result<Response<Body>, Problem> {
    let known: Vec<&str> = MAP.iter().copied().filter(|name| *name != "query_vectors").collect();
    let fields = call.query(&known, &[])?;
    heatmap(&app, call.path("ref"), &call.headers, fields).await
}

/// `POST /v1/pages/{ref}/heatmap`.
pub async fn post_heatmap(
    State(app): State<Shared>,
    mut call: Call,
) -> Result<Response<Body>, Problem> {
    let fields = call.json(&MAP).await?;
    heatmap(&app, call.path("ref"), &call.headers, fields).await
}

async fn heatmap(
    app: &App,
    reference: &str,
    headers: &HeaderMap,
    mut fields: Fields,
) -> Result<Response<Body>, Problem> {
    let served = app.index(fields.text("index")?.as_deref())?.clone();
    let asked = AskedMap::read(&mut fields, &served)?;
    let page = page_in_place(app, &served, reference).await?;
    if asked.json {
        let value = app.draws.run(app.deadline(), move |_| {
            let question = asked.question.encoded(&served, &page)?;
            let heat = page.heat(&question, asked.of, asked.scale).map_err(map_problem)?;
            Ok(records::heat(&page, &question, &heat))
        });
        return Ok(Json(value.await?).into_response());
    }
    let snapshot = served.index.snapshot();
    let models = (snapshot.model().map(|of| &of.id), snapshot.embedder().map(|of| &of.id));
    let key = format!(
        "heat {} {} {} {models:?} {:?} {} {} {:?} {}",
        served.name,
        page.document(),
        page.number(),
        asked.of,
        asked.width,
        asked.smooth,
        asked.scale,
        asked.question.key(),
    );
    let etag = etag_of(&key);
    if has(headers, &etag) {
        return Ok(not_modified(&etag));
    }
    let make = app.draws.run(app.deadline(), move |_| {
        let question = asked.question.encoded(&served, &page)?;
        let heat = page.heat(&question, asked.of, asked.scale).map_err(map_problem)?;
        heat_png(&page, &heat, asked.width, asked.smooth)
    });
    let encoded = app.cache.get_or_make("heatmap", &key, make).await?;
    Ok(answered(&encoded, &etag))
}

/// `word` and `token` count from 0 to the last one.
fn map_problem(error: Error) -> Problem {
    error.into()
}

/// A map as a picture that lies over that of its page.
///
/// # Errors
/// [`Code::Internal`].
pub fn heat_png(
    page: &Page,
    heat: &PageHeat,
    width: u32,
    smooth: bool,
) -> Result<Encoded, Problem> {
    let size = page.picture_size(width);
    let made = picture::encode_heat(&heat.map, size.width_px, size.height_px, smooth)?;
    Ok(made.into())
}

/// `GET /v1/pages/{ref}/regions`.
pub async fn regions(State(app): State<Shared>, call: Call) -> Result<Json<Value>, Problem> {
    let mut fields = call.query(&["query", "channel", "word", "n", "words", "index"], &[])?;
    let served = app.index(fields.text("index")?.as_deref())?.clone();
    let query = fields.text("query")?;
    let query = query.ok_or_else(|| Problem::bad("query", "`query` is missing: what is asked"))?;
    let asked =
        MapQuestion::of(query_of(&query, "query")?, fields.choice("channel", &MAP_CHANNELS)?);
    let word = fields.whole_if("word", 0..=u64::from(u32::MAX))?;
    let of = word.map_or(MapOf::Question, |word| MapOf::Word(word as usize));
    let n = fields.whole("n", 1..=5, 3)? as usize;
    let with_words = fields.flag("words", false)?;
    let reference = call.path("ref").to_string();
    let found = app.draws.run(app.deadline(), move |_| {
        let start = Instant::now();
        let page = page_of(&served, &reference)?;
        let question = asked.encoded(&served, &page)?;
        let regions = page.regions(&question, of, n).map_err(map_problem)?;
        let regions: Vec<Value> =
            regions.iter().map(|region| region_json(&served, &page, region, with_words)).collect();
        Ok(json!({
            "regions": regions,
            "ms": wire::ms(start.elapsed()),
            "snapshot": page.snapshot(),
            "model_id": question.model(),
        }))
    });
    Ok(Json(found.await?))
}
