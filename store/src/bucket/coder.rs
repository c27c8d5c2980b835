//! The middle around which all workers of an index make the sketches of pages, so that the segments
//! of their codes can be joined and an index does not depend on how its pages were shared out.
//!
//! `coders/<model>-<dim>.bin` is the mean, little-endian f32, and the BLAKE3 of it. Who needs it
//! first takes it from the first pages of documents that the plan names, or where none of them can be
//! read from the pages of its part, and puts it where there is none; the others take what is there.

use pagesight_core::{ModelRecord, PageVectors};
use pagesight_maxsim::SketchCoder;

use super::objects::{Objects, Put};
use crate::codes::write::fit;
use crate::error::StoreError;

/// Folder of the coders.
pub(crate) const CODERS: &str = "coders/";

fn name(model: &ModelRecord) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let id: String = model.id.0.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    format!("{CODERS}{id}-{}.bin", model.dim)
}

/// The coder of the index for `model`; made from `pages` where there is none, and `None` where there
/// are no pages to make it from.
///
/// # Errors
/// [`StoreError::Bucket`], [`StoreError::DamagedFile`].
pub(crate) async fn agreed(
    objects: &Objects,
    model: &ModelRecord,
    pages: &[&PageVectors],
) -> Result<Option<SketchCoder>, StoreError> {
    let name = name(model);
    if let Some(bytes) = objects.get(&name).await? {
        return parse(objects, &name, model.dim, &bytes).map(Some);
    }
    if pages.is_empty() {
        return Ok(None);
    }
    offer(objects, model, &fit(model.dim, pages.iter().copied())).await.map(Some)
}

/// Offers `coder`, which is that of the index unless it has one: the one that counts.
///
/// # Errors
/// As [`agreed`].
pub(crate) async fn offer(
    objects: &Objects,
    model: &ModelRecord,
    coder: &SketchCoder,
) -> Result<SketchCoder, StoreError> {
    let name = name(model);
    match objects.put_new(&name, &to_bytes(coder)).await? {
        Put::Done => Ok(SketchCoder::around(coder.mean().to_vec())),
        Put::Taken(bytes) => parse(objects, &name, model.dim, &bytes),
    }
}

/// Puts `coder`, around whose mean the codes of the index are, in the place of what there is: of an index
/// whose coder is gone or damaged.
///
/// # Errors
/// [`StoreError::Bucket`].
pub(crate) async fn restore(
    objects: &Objects,
    model: &ModelRecord,
    coder: &SketchCoder,
) -> Result<String, StoreError> {
    let name = name(model);
    objects.put(&name, to_bytes(coder)).await?;
    Ok(name)
}

/// The coder of the index for `model`, where it has one.
///
/// # Errors
/// As [`agreed`].
pub(crate) async fn there(
    objects: &Objects,
    model: &ModelRecord,
) -> Result<Option<SketchCoder>, StoreError> {
    agreed(objects, model, &[]).await
}

fn to_bytes(coder: &SketchCoder) -> Vec<u8> {
    let mut bytes: Vec<u8> = coder.mean().iter().flat_map(|value| value.to_le_bytes()).collect();
    let hash = blake3::hash(&bytes);
    bytes.extend(hash.as_bytes());
    bytes
}

fn parse(
    objects: &Objects,
    name: &str,
    dim: usize,
    bytes: &[u8],
) -> Result<SketchCoder, StoreError> {
    let sound = bytes
        .split_at_checked(dim * 4)
        .filter(|(mean, hash)| blake3::hash(mean).as_bytes().as_slice() == *hash);
    let Some((mean, _)) = sound else {
        let what = "its hash is not the one that was written".into();
        return Err(StoreError::DamagedFile { path: objects.path_of(name), what });
    };
    let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes"));
    Ok(SketchCoder::around(mean.chunks_exact(4).map(value).collect()))
}
