//! Finds the index: `--index` or PAGESIGHT_INDEX, else the nearest `.pagesight` above, as git
//! finds its folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use pagesight::fleet::{Address, Fleet};
use pagesight::index::{BucketOptions, LocalCopy};
use pagesight::{Error, Index, machine};

use super::args::Place;
use super::hinted;

/// Name of the index folder.
const FOLDER: &str = ".pagesight";

/// Between two looks for a newer snapshot in a bucket, unless a server says otherwise.
pub const REFRESH: Duration = Duration::from_secs(5);

/// The index that a verb reads: a folder, or the address of one in a bucket.
pub fn existing(place: &Place) -> Result<PathBuf> {
    if let Some(folder) = &place.index {
        if !is_there(folder)? {
            return Err(hinted(
                format!("there is no index at {}", folder.display()),
                "make one with `pagesight index FOLDER`",
            ));
        }
        return Ok(folder.clone());
    }
    let here = std::env::current_dir().context("finding the current folder")?;
    nearest(&here).ok_or_else(|| {
        hinted(
            format!("there is no index in {} or above", here.display()),
            "make one with `pagesight index FOLDER`, or name one with --index DIR",
        )
    })
}

/// The index that `pagesight index` writes: an existing one, or a new one in this folder.
pub fn for_writing(place: &Place) -> Result<PathBuf> {
    if let Some(folder) = &place.index {
        address(folder)?;
        return Ok(folder.clone());
    }
    let here = std::env::current_dir().context("finding the current folder")?;
    Ok(nearest(&here).unwrap_or_else(|| here.join(FOLDER)))
}

/// Whether there may be an index: a bucket is asked when it is opened.
pub fn is_there(folder: &Path) -> Result<bool> {
    Ok(address(folder)?.is_some() || folder.is_dir())
}

/// The address that stands where a folder may stand; `None` for a folder.
pub fn address(folder: &Path) -> Result<Option<Address>> {
    let address = Address::of(folder).map_err(Error::Store)?;
    Ok(address.map(|address| address.with_clear_http(machine::is_store_here())))
}

/// The address of the index that is meant; `None` when it lies in a folder.
pub fn bucket(place: &Place) -> Result<Option<Address>> {
    place.index.as_deref().map_or(Ok(None), address)
}

/// Refuses folders that are not there: before an index is made for nothing. PDFs in a bucket, which only an
/// index in one is made of, are looked for when they are listed.
pub fn check_folders(folders: &[PathBuf], in_bucket: bool) -> Result<()> {
    for folder in folders {
        if let Some(address) = address(folder)? {
            if !in_bucket {
                return Err(hinted(
                    format!(
                        "{address} is a bucket, and an index in a folder is made of PDFs in folders"
                    ),
                    "make the index in a bucket too: --index s3://BUCKET/PREFIX",
                ));
            }
            continue;
        }
        std::fs::metadata(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    }
    Ok(())
}

/// The address of the index that a verb needs which folders do not have.
pub fn only_bucket(place: &Place, verb: &str) -> Result<Address> {
    bucket(place)?.ok_or_else(|| {
        hinted(
            format!("`{verb}` is for an index in a bucket"),
            "name one with --index s3://BUCKET/PREFIX; an index in a folder has one writer, \
             `pagesight index`",
        )
    })
}

/// Opens the index that a verb reads.
pub fn open(place: &Place) -> Result<Index> {
    let folder = existing(place)?;
    let opening = || format!("opening {}", folder.display());
    match address(&folder)? {
        Some(address) => {
            let opened = Index::open_bucket(&address, &options(place, REFRESH, false));
            opened.with_context(opening)
        }
        None => Index::open(&folder).with_context(opening),
    }
}

/// Opens the index in a bucket for those who write to it.
pub fn fleet(place: &Place, address: &Address) -> Result<Fleet> {
    Fleet::open(address, &local(place)).with_context(|| format!("opening {address}"))
}

/// How an index in a bucket is read. With `fill`, for those who stay, all codes are fetched in the
/// background.
pub fn options(place: &Place, refresh: Duration, fill: bool) -> BucketOptions {
    let mut copy = LocalCopy::in_folder(local(place));
    copy.most_bytes = place.local_gb.map(|gigabytes| (gigabytes * 1e9) as u64);
    copy.fill = fill;
    BucketOptions { local: copy, refresh, ..BucketOptions::default() }
}

/// Where copies of indexes in buckets are kept.
pub fn local(place: &Place) -> PathBuf {
    place.local.clone().unwrap_or_else(machine::local)
}

fn nearest(here: &Path) -> Option<PathBuf> {
    here.ancestors().map(|folder| folder.join(FOLDER)).find(|folder| folder.is_dir())
}
