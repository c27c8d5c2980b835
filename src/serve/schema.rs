//! The shapes of requests and answers that are put together field by field, for `/openapi.json` and
//! the tools. Tests compare them with what is read and answered.

#![allow(dead_code, reason = "shapes that are described and never made")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A search.
#[derive(JsonSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// What is asked, 1 to 4,096 bytes after trimming, without NUL. What stands in quotation marks
    /// must be on the page. May be left out with `query_vectors`.
    #[schemars(length(min = 1, max = 4096))]
    query: Option<String>,
    /// How many hits, 1 to 200; 10 by default.
    #[schemars(range(min = 1, max = 200), extend("default" = 10))]
    k: Option<u32>,
    /// Which channels answer: pictures, words, what the words mean, or all of them fused.
    channel: Option<ChannelChoice>,
    /// Only documents whose ledger path matches one of these globs, at most 32 of 512 bytes. `*`
    /// stays within a folder, `**` crosses folders.
    #[schemars(length(max = 32))]
    paths: Option<Vec<String>>,
    /// Only these documents, at most 1,000, by 8 to 64 hexadecimal digits of their ids.
    #[schemars(length(max = 1000))]
    documents: Option<Vec<String>>,
    /// Whether to add `tokens`, `words`, and the `matches` of each hit; false by default.
    #[schemars(extend("default" = false))]
    explain: Option<bool>,
    /// Regions of each of the first 10 hits, 0 to 5; 0 by default.
    #[schemars(range(min = 0, max = 5), extend("default" = 0))]
    regions: Option<u32>,
    /// How much of a page's text a hit has: `full` adds `page_text`.
    text: Option<TextChoice>,
    /// Whether to give the best pages even where nothing speaks for an answer (`verdict` is `none`);
    /// false by default.
    #[schemars(extend("default" = false))]
    all: Option<bool>,
    /// The query's own embedding: 1 to 256 rows of the index's `dim` finite numbers, which are made
    /// unit. Pictures are ranked by it, words by `query`.
    #[schemars(length(min = 1, max = 256))]
    query_vectors: Option<Vec<Vec<f64>>>,
    /// The index, by name; the default one when it is left out.
    index: Option<String>,
}

/// Which channels answer; `both` by default.
#[derive(JsonSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelChoice {
    Both,
    Visual,
    Text,
    Meaning,
}

/// How much of a page's text a hit has; `snippet` by default.
#[derive(JsonSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextChoice {
    None,
    Snippet,
    Full,
}

/// Sources for an answer.
#[derive(JsonSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextRequest {
    /// What is asked, 1 to 4,096 bytes after trimming.
    #[schemars(length(min = 1, max = 4096))]
    query: String,
    /// Sources, 1 to 20; 5 by default.
    #[schemars(range(min = 1, max = 20), extend("default" = 5))]
    k: Option<u32>,
    /// Which channels answer.
    channel: Option<ChannelChoice>,
    /// As in a search.
    #[schemars(length(max = 32))]
    paths: Option<Vec<String>>,
    /// As in a search.
    #[schemars(length(max = 1000))]
    documents: Option<Vec<String>>,
    /// As in a search.
    #[schemars(extend("default" = false))]
    all: Option<bool>,
    /// The index, by name; the default one when it is left out.
    index: Option<String>,
    /// What of a page a source has; `auto` takes regions where the page's text is more than a
    /// quarter of the budget.
    scope: Option<ScopeChoice>,
    /// Characters of all texts together, 200 to 200,000; 12,000 by default.
    #[schemars(range(min = 200, max = 200_000), extend("default" = 12000))]
    budget_chars: Option<u32>,
    /// How pictures are given; `url` by default.
    images: Option<ImageChoice>,
    /// Pictures, 0 to 8; 4 by default.
    #[schemars(range(min = 0, max = 8), extend("default" = 4))]
    max_images: Option<u32>,
    /// Width of a picture, px, 16 to 4,096; 1,024 by default.
    #[schemars(range(min = 16, max = 4096), extend("default" = 1024))]
    image_width: Option<u32>,
}

/// A question to be answered in words.
#[derive(JsonSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskRequest {
    /// What is asked, 1 to 4,096 bytes after trimming.
    #[schemars(length(min = 1, max = 4096))]
    query: String,
    /// Pages to lean on, 1 to 20; 4 for a chat model, 1 for a passage by default.
    #[schemars(range(min = 1, max = 20))]
    k: Option<u32>,
    /// Which channels answer.
    channel: Option<ChannelChoice>,
    /// As in a search.
    #[schemars(length(max = 32))]
    paths: Option<Vec<String>>,
    /// As in a search.
    #[schemars(length(max = 1000))]
    documents: Option<Vec<String>>,
    /// As in a search.
    #[schemars(extend("default" = false))]
    all: Option<bool>,
    /// The index, by name; the default one when it is left out.
    index: Option<String>,
}

/// What of a page a source has; `auto` by default.
#[derive(JsonSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeChoice {
    Page,
    Region,
    Auto,
}

/// How pictures are given; `url` by default.
#[derive(JsonSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageChoice {
    None,
    Url,
    Base64,
}

/// A heat map.
#[derive(JsonSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeatmapRequest {
    /// What is asked, 1 to 4,096 bytes after trimming. May be left out with `query_vectors`.
    #[schemars(length(min = 1, max = 4096))]
    query: Option<String>,
    /// The query's own embedding: 1 to 256 rows of the index's `dim` finite numbers.
    #[schemars(length(min = 1, max = 256))]
    query_vectors: Option<Vec<Vec<f64>>>,
    /// What answers; `visual` by default.
    channel: Option<MapChannel>,
    /// The word of the query, from 0; not with `token`. Neither is the whole query.
    word: Option<u32>,
    /// The token of the query, from 0; not with `word`.
    token: Option<u32>,
    /// Width of the picture, px, 16 to 2,048; 800 by default. Its height is that of the page's
    /// picture of the same width.
    #[schemars(range(min = 16, max = 2048), extend("default" = 800))]
    width: Option<u32>,
    /// `png` (default) or `json`.
    format: Option<MapFormat>,
    /// Whether heat between the middles of cells is bilinear; true by default.
    #[schemars(extend("default" = true))]
    smooth: Option<bool>,
    /// What heat is measured against; `page` by default.
    scale: Option<ScaleChoice>,
    /// The index, by name; the default one when it is left out.
    index: Option<String>,
}

/// What answers on a page: the patches of its picture, or what its words mean.
#[derive(JsonSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MapChannel {
    Visual,
    Meaning,
}

/// A picture or numbers; `png` by default.
#[derive(JsonSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MapFormat {
    Png,
    Json,
}

/// What heat is measured against: the page's own values, or nothing, so that pages compare.
#[derive(JsonSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleChoice {
    Page,
    Absolute,
}

/// A job that syncs a folder.
#[derive(JsonSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// The name of a root that the server was started with, or `uploads`.
    root: String,
    /// A folder below the root, relative; the root itself when it is left out.
    path: Option<String>,
    /// Whether documents that failed and have not changed are read again; false by default.
    #[schemars(extend("default" = false))]
    retry_failed: Option<bool>,
    /// Languages of pages without words, as tesseract names them, `+` between them; found from the
    /// script of the page by default. Empty: pages without words are not read.
    ocr_languages: Option<String>,
    /// The index, by name; the default one when it is left out.
    index: Option<String>,
}

/// A token for a session.
#[derive(JsonSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// The server's token, 16 to 512 characters.
    token: String,
}

/// The answer to a search.
#[derive(JsonSchema, Serialize)]
pub struct SearchAnswer {
    /// The query, trimmed; positions count in it.
    query: String,
    /// The index that answered.
    index: String,
    /// With `explain`: the query tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Vec<Token>>,
    /// With `explain`: the words as split at white space.
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<Vec<QueryWord>>,
    /// Ranked pages, best first; empty when nothing was found.
    hits: Vec<Hit>,
    /// What to say of the answer: `good`, `weak`, or `none` where nothing speaks for one.
    verdict: String,
    /// How likely one of the hits answers, 0 to 1; null where nothing was fitted for what found them.
    probability: Option<f64>,
    /// Pages held back since nothing speaks for an answer; `all` gives them.
    held_back: u64,
    /// The snapshot that answered.
    snapshot: u64,
    /// The model that looked; null when words alone answered.
    model_id: Option<String>,
    /// Whether the ranking by pictures is that of exact MaxSim.
    exact: bool,
    /// Ranks from the first that are certainly those of exact MaxSim.
    exact_ranks: u32,
    /// Pages whose codes were compared.
    pages_scored: u64,
    /// Pages that were scored again.
    pages_reranked: u64,
    /// The code that was scanned.
    code: String,
    /// What pages were scored again in.
    reranked_in: String,
    /// The channels that answered.
    channels: Vec<String>,
    /// What an approximate ranking was measured to lose; null when exact or not measured.
    recall: Option<serde_json::Value>,
    /// What a compact index was measured to lose; null for others.
    compact: Option<serde_json::Value>,
    /// Where the time went.
    ms: Times,
    /// What a reader should know, one line; null when there is nothing.
    notice: Option<String>,
    /// The same as data.
    notices: Vec<serde_json::Value>,
}

/// Milliseconds by stage.
#[derive(JsonSchema, Serialize)]
pub struct Times {
    /// From the question to the answer, without regions, ms.
    total: f64,
    /// From the question to its vectors, ms.
    encode: f64,
    /// Ranking by pictures, ms.
    visual: f64,
    /// Of that, scanning codes, ms.
    scan: f64,
    /// Of that, scoring again, ms.
    rerank: f64,
    /// Ranking by words, ms.
    text: f64,
    /// Ranking by what the words mean, ms.
    meaning: f64,
    /// Finding regions, ms.
    regions: f64,
}

/// A ranked page and the reasons why.
#[derive(JsonSchema, Serialize)]
pub struct Hit {
    /// From 1.
    rank: u32,
    /// The ledger path of its document.
    path: String,
    /// Number of the page, from 1.
    page: u32,
    /// The score that ranks it; to be compared within one answer.
    score: f64,
    /// `good`, `weak` or `none`; null where nothing was fitted for what found the page.
    verdict: Option<String>,
    /// How likely the page answers, 0 to 1; null where nothing was fitted for what found it.
    probability: Option<f64>,
    /// What pictures said; null when the page was not among their best.
    visual: Option<ChannelScore>,
    /// What words said; null when the page was not among their best.
    text: Option<ChannelScore>,
    /// What the meaning of its words said; null when the page was not among its best.
    meaning: Option<ChannelScore>,
    /// The same of all channels, by name.
    channels: Vec<NamedScore>,
    /// Whether its words found it by its path or title alone.
    by_name: bool,
    /// The part of its text that answers best; absent with `text: none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    snippet: Option<String>,
    /// Words of the query in `snippet`: from and to, characters; absent with `text: none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    marks: Option<Vec<[u32; 2]>>,
    /// The passage that is most like the query in meaning; null where none was compared.
    passage: Option<Passage>,
    /// The document's id, 64 hexadecimal digits.
    document: String,
    /// Its reference, `DOC-PAGE`: it names bytes, so it stays right when files move.
    #[serde(rename = "ref")]
    reference: String,
    /// Width and height as displayed, points.
    size_pt: [f64; 2],
    /// `layer`, `ocr` or `none`.
    text_source: String,
    /// With `explain`: for each query token what of the page answers it best.
    matches: Vec<Match>,
    /// The document's title; null where it has none.
    title: Option<String>,
    /// Pages of the document.
    page_count: u32,
    /// Its picture.
    image_url: String,
    /// Its heat map for this query; null without vectors.
    heatmap_url: Option<String>,
    /// The PDF, open at this page.
    file_url: String,
    /// With `regions`, on the first 10 hits: the parts that answer, best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    regions: Option<Vec<Region>>,
    /// With `text: full`: all of the page's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    page_text: Option<String>,
}

/// What a channel said.
#[derive(JsonSchema, Serialize)]
pub struct ChannelScore {
    /// MaxSim, BM25 or, of meaning, deviations above the mean of all pages; not comparable between channels.
    score: f64,
    /// Rank within the channel, from 1.
    rank: u32,
}

/// A passage of a page.
#[derive(JsonSchema, Serialize)]
pub struct Passage {
    /// Its text.
    text: String,
    /// The cosine between it and the query, -1 to 1.
    similarity: f64,
}

/// What a channel said, with its name.
#[derive(JsonSchema, Serialize)]
pub struct NamedScore {
    /// `patches`, `words`, `passages`, or another one that the index has.
    channel: String,
    /// Not comparable between channels.
    score: f64,
    /// Rank within the channel, from 1.
    rank: u32,
}

/// A query token and the patch that answers it best.
#[derive(JsonSchema, Serialize)]
pub struct Match {
    /// The token's text.
    token: String,
    /// Dot product of both: what the token adds to the score of the page.
    similarity: f64,
    /// Left, top, right and bottom of the patch, points; null for a vector without a place.
    rect_pt: Option<[f64; 4]>,
}

/// A query token.
#[derive(JsonSchema, Serialize)]
pub struct Token {
    /// Its number, from 0.
    index: u32,
    /// Its text.
    text: String,
    /// The word that it is of, from 0; null for tokens of the prompt, of padding and the like.
    word: Option<u32>,
}

/// A word of the query.
#[derive(JsonSchema, Serialize)]
pub struct QueryWord {
    /// Its number, from 0.
    index: u32,
    /// The word.
    text: String,
    /// Where it begins in `query`, characters.
    start: u32,
    /// Where it ends, characters.
    end: u32,
    /// Its tokens.
    tokens: Vec<u32>,
}

/// A part of a page that answers a question.
#[derive(JsonSchema, Serialize)]
pub struct Region {
    /// From 1, best first.
    rank: u32,
    /// 0 to 1, to be compared with other regions of the page.
    score: f64,
    /// Left, top, right and bottom, points.
    rect_pt: [f64; 4],
    /// The same in fractions of the page's sides, 0 to 1.
    rect_rel: [f64; 4],
    /// `text` or `picture`.
    kind: String,
    /// How its outline was found: `words`, `ocr`, `ink` or `patch`.
    snap: String,
    /// Its words in reading order, at most 4,000 characters; empty for a picture.
    text: String,
    /// Words of the query that are in it, from 0.
    query_words: Vec<u32>,
    /// The picture of this part.
    image_url: String,
    /// With `words`: its words and their places.
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<Vec<super::wire::Word>>,
}

/// Regions of a page.
#[derive(JsonSchema, Serialize)]
pub struct Regions {
    /// Best first.
    regions: Vec<Region>,
    /// Time that it took, ms.
    ms: f64,
    /// The snapshot of the page.
    snapshot: u64,
    /// The model that encoded the query.
    model_id: Option<String>,
}

/// A heat map as numbers.
#[derive(JsonSchema, Serialize)]
pub struct Heatmap {
    /// Cells from left to right, at most 256.
    columns: u32,
    /// Cells from top to bottom, at most 256.
    rows: u32,
    /// Heat, 0 to 1, row by row from the top left; null where no vector of the page stands.
    values: Vec<Option<f64>>,
    /// What the similarities of the strongest token are over the page.
    similarity: SimilarityRange,
    /// The hottest cell.
    peak: Peak,
    /// The query tokens.
    tokens: Vec<Token>,
    /// The words of the query.
    words: Vec<QueryWord>,
    /// Whether it is made from vectors of 4 or 8 bits a number, as those of a compact index and those
    /// of meaning are.
    approximate: bool,
    /// The snapshot whose vectors were read.
    snapshot: u64,
    /// The model of the vectors.
    model_id: Option<String>,
}

/// Dot products of a token with the vectors of a page.
#[derive(JsonSchema, Serialize)]
pub struct SimilarityRange {
    /// The smallest.
    min: f64,
    /// The middle one.
    median: f64,
    /// The largest.
    max: f64,
}

/// The hottest cell of a map.
#[derive(JsonSchema, Serialize)]
pub struct Peak {
    /// From 0, from the left.
    column: u32,
    /// From 0, from the top.
    row: u32,
    /// Left, top, right and bottom, points.
    rect_pt: [f64; 4],
}

/// Sources for an answer.
#[derive(JsonSchema, Serialize)]
pub struct ContextAnswer {
    /// The sources, best first.
    sources: Vec<Source>,
    /// The sources one after another, for a prompt. Its first line says that what follows is quoted
    /// and no instruction.
    prompt: String,
    /// Characters of all texts together, within the budget.
    chars: u32,
    /// The snapshot that answered.
    snapshot: u64,
    /// The model that looked; null when words alone answered.
    model_id: Option<String>,
    /// What a reader should know, one line; null when there is nothing.
    notice: Option<String>,
}

/// A source.
#[derive(JsonSchema, Serialize)]
pub struct Source {
    /// Its number in the prompt, from 1.
    n: u32,
    /// The page's reference.
    #[serde(rename = "ref")]
    reference: String,
    /// The document's ledger path.
    path: String,
    /// Number of the page, from 1.
    page: u32,
    /// Such as `reports/q3.pdf, page 12`.
    citation: String,
    /// The PDF, open at this page.
    file_url: String,
    /// As in a hit.
    score: f64,
    /// What the page, or its regions, say, within the source's share of the budget.
    text: String,
    /// Whether some of it was cut off, between words.
    text_truncated: bool,
    /// The regions that the text is of; empty for a whole page.
    regions: Vec<Region>,
    /// The page's picture; null where none is given.
    image: Option<SourceImage>,
}

/// The picture of a source.
#[derive(JsonSchema, Serialize)]
pub struct SourceImage {
    /// With `images: url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// With `images: base64`: at most 200 kB, all of an answer at most 1 MB.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// `image/jpeg`.
    mime_type: String,
    /// Width, px.
    width_px: u32,
    /// Height, px.
    height_px: u32,
    /// Its size, bytes; null where it is not drawn yet.
    bytes: Option<u64>,
}

/// A document with all that is known of it.
#[derive(JsonSchema, Serialize)]
pub struct DocumentDetail {
    #[serde(flatten)]
    document: super::wire::Document,
    /// Pages that could not be read, and why.
    failures: Vec<PageFailure>,
    /// What a person should know of it.
    notes: Vec<String>,
    /// All paths at which it was found.
    paths: Vec<String>,
}

/// A page that could not be read.
#[derive(JsonSchema, Serialize)]
pub struct PageFailure {
    /// Its number, from 1.
    page: u32,
    /// Why, one line.
    reason: String,
}

/// Whether the server lives or is ready.
#[derive(JsonSchema, Serialize)]
pub struct Health {
    /// `ok` or `ready`.
    status: String,
}
