//! `/v1/context`: sources for an answer, within a budget.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use pagesight::context::{Context, PICTURES, Scope};
use pagesight::picture::jpeg_within;
use pagesight::search::{Page, Rect};
use serde_json::{Value, json};

use super::cache::Encoded;
use super::call::Call;
use super::json::Json;
use super::pages::not_drawn;
use super::problem::Problem;
use super::search::{Asked, Most};
use super::served::Served;
use super::state::Shared;
use super::wire::{Urls, region_json};

pub use pagesight::context::{PICTURE, cut};

/// Fields of a request.
pub const FIELDS: [&str; 12] = [
    "query",
    "k",
    "channel",
    "paths",
    "documents",
    "all",
    "index",
    "scope",
    "budget_chars",
    "images",
    "max_images",
    "image_width",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Images {
    Url,
    Base64,
    None,
}

/// `POST /v1/context`.
pub async fn post(State(app): State<Shared>, mut call: Call) -> Result<Json<Value>, Problem> {
    let mut fields = call.json(&FIELDS).await?;
    let served = app.index(fields.text("index")?.as_deref())?.clone();
    let scope = fields.choice(
        "scope",
        &[("auto", Scope::Auto), ("page", Scope::Page), ("region", Scope::Region)],
    )?;
    let budget = fields.whole("budget_chars", 200..=200_000, 12_000)? as usize;
    let images = fields.choice(
        "images",
        &[("url", Images::Url), ("base64", Images::Base64), ("none", Images::None)],
    )?;
    let most_images = fields.whole("max_images", 0..=8, 4)? as usize;
    let width = fields.whole("image_width", 16..=super::wire::WIDEST, 1024)? as u32;
    let most = Most { k: 20, default_k: 5, regions: 0, default_regions: 0 };
    let asked = Asked::read(&mut fields, &served, most)?;
    let answer = app.searches.run(app.deadline(), move |stop| {
        context(&served, &asked, scope, budget, (images, most_images, width), stop)
    });
    Ok(Json(answer.await?))
}

fn context(
    served: &Served,
    asked: &Asked,
    scope: Scope,
    budget: usize,
    (images, most_images, width): (Images, usize, u32),
    stop: &Arc<AtomicBool>,
) -> Result<Value, Problem> {
    let answer = asked.search(served)?.run()?;
    let question = asked.encoded(served, &answer);
    let context = Context::of(&answer, question.as_ref(), scope, budget)?;
    let pictured = context.sources.len().min(most_images);
    let most = PICTURE.min(PICTURES / pictured.max(1));
    let mut written = Vec::with_capacity(context.sources.len());
    for (at, source) in context.sources.iter().enumerate() {
        let page = &source.page;
        let urls = Urls::of(served, page);
        let image = match images {
            Images::Url if at < most_images => url_image(page, &urls, width),
            Images::Base64 if at < most_images => {
                within(page, width, None, most, stop).map_or(Value::Null, |picture| {
                    json!({
                        "base64": BASE64_STANDARD.encode(&picture.bytes),
                        "mime_type": picture.kind,
                        "width_px": picture.width_px,
                        "height_px": picture.height_px,
                        "bytes": picture.bytes.len(),
                    })
                })
            }
            _ => Value::Null,
        };
        let regions = source.regions.iter();
        let regions: Vec<Value> =
            regions.map(|region| region_json(served, page, region, false)).collect();
        written.push(json!({
            "n": source.number,
            "ref": page.reference().to_string(),
            "path": page.path(),
            "page": page.number(),
            "citation": source.citation(),
            "file_url": urls.file,
            "score": source.score,
            "text": source.text,
            "text_truncated": source.truncated,
            "regions": regions,
            "image": image,
        }));
    }
    Ok(json!({
        "sources": written,
        "prompt": context.prompt,
        "chars": context.chars,
        "snapshot": context.snapshot,
        "model_id": context.model,
        "notice": context.notice,
    }))
}

fn url_image(page: &Page, urls: &Urls, width: u32) -> Value {
    let between = if urls.image.contains('?') { '&' } else { '?' };
    let size = page.picture_size(width);
    json!({
        "url": format!("{}{between}width={width}&format=jpeg", urls.image),
        "mime_type": "image/jpeg",
        "width_px": size.width_px,
        "height_px": size.height_px,
        "bytes": null,
    })
}

/// A page, or a part of it, as a JPEG of at most `most` bytes: its quality, then its width go down.
///
/// # Errors
/// What drawing says.
pub fn within(
    page: &Page,
    width: u32,
    region: Option<Rect>,
    most: usize,
    stop: &Arc<AtomicBool>,
) -> Result<Encoded, Problem> {
    jpeg_within(page, width, region, most, stop).map(Encoded::from).map_err(not_drawn)
}
