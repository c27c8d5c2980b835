//! The snapshot of an index of a hundred million pages, made up: small, and read as it was written.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::entry::{Entry, write_manifests};
use super::super::faults::{Faults, objects};
use super::super::lists::LISTS;
use super::super::{log, random};
use crate::runtime::wait;
use crate::snapshot::contents::FileMark;

/// Parts of 2,048 pages.
const PARTS: usize = 48_829;

/// The most bytes of a snapshot, and of a manifest or list.
const SNAPSHOT: usize = 1 << 20;
const MANIFEST: u64 = 16 << 20;

/// What a part adds: the files of its pages and codes, and six of its segment of words.
fn add_part(shard: usize, files: &mut BTreeMap<String, FileMark>, entry: &mut Entry) {
    let mark = || {
        let blake3 = blake3::hash(random().as_bytes()).to_hex().to_string();
        FileMark { bytes: 540_672_000, blake3 }
    };
    let begin = format!("429fd5581ff903f9-{shard}-0-{}", random());
    let (a, b) = (random(), random());
    let segment =
        format!("{}-{}-{}-{}-{}{}", &a[..8], &a[8..12], &a[12..], &b[..4], &b[4..], &a[..2]);
    let id = segment.replace('-', "");
    files.insert(format!("pages.lance/data/{begin}.lance"), mark());
    files.insert(format!("codes/{begin}.codes"), mark());
    for ending in ["fast", "fieldnorm", "idx", "pos", "store", "term"] {
        files.insert(format!("text/{begin}/{id}.{ending}"), mark());
    }
    entry.snapshot.codes.get_or_insert_default().push(format!("{begin}.codes"));
    let mut meta: serde_json::Value = serde_json::from_str(&entry.snapshot.text_meta).unwrap();
    let described = serde_json::json!({"segment_id": segment, "max_doc": 2048, "deletes": null});
    meta["segments"].as_array_mut().unwrap().push(described);
    entry.snapshot.text_meta = meta.to_string();
}

/// The same for many parts, without reading the list of words each time.
fn add_parts(count: usize, files: &mut BTreeMap<String, FileMark>, entry: &mut Entry) {
    let mut segments = Vec::with_capacity(count);
    for shard in 0..count {
        entry.snapshot.text_meta = r#"{"segments":[],"opstamp":7}"#.into();
        add_part(shard, files, entry);
        let meta: serde_json::Value = serde_json::from_str(&entry.snapshot.text_meta).unwrap();
        segments.extend(meta["segments"].as_array().unwrap().clone());
    }
    entry.snapshot.text_meta =
        serde_json::json!({"index_settings": {}, "segments": segments, "opstamp": 7}).to_string();
}

#[test]
fn a_snapshot_of_a_hundred_million_pages_is_small_and_what_comes_after_it_shares_its_lists() {
    let faults = Faults::default();
    let objects = wait(async { Ok(objects("hundred-million", &faults).await) }).unwrap();
    let mut entry = super::super::entry::tests::entry(1, "a");
    (entry.snapshot.pages, entry.snapshot.codes) = (100_000_000, None);
    let mut files = BTreeMap::new();
    add_parts(PARTS, &mut files, &mut entry);
    wait(async {
        entry.manifests = write_manifests(&objects, 1, &[], &files).await?;
        assert!(log::publish(&objects, &entry).await?);
        let bytes = objects.get_required(&log::name(1)).await?;
        assert!(bytes.len() < SNAPSHOT, "{} bytes", bytes.len());
        let read = log::newest(&objects).await?.expect("published");
        assert_eq!(read.snapshot.codes, entry.snapshot.codes);
        assert_eq!(read.snapshot.text_meta, entry.snapshot.text_meta);
        assert!(read.files(&objects).await? == files);
        let most = read.manifests.iter().map(|manifest| manifest.bytes).max().unwrap();
        let longest = read.lists.iter().map(|list| list.bytes).max().unwrap();
        assert!(most.max(longest) < MANIFEST, "{most} {longest}");
        println!(
            "{PARTS} parts: the snapshot {} bytes, {} manifests of at most {most} and {} lists of at most \
             {longest} bytes",
            bytes.len(),
            read.manifests.len(),
            read.lists.len()
        );
        // Without the entries it is put as it was: so it is when a reader was seen too late.
        let log::Slot::Held(bare) = log::without_lists(&objects, 1).await? else { panic!("held") };
        assert_eq!(bare.to_bytes(), bytes);

        // One part more: a manifest, and of each list the last object.
        let mut next = Entry { nonce: "b".into(), ..read };
        next.snapshot.number = 2;
        let mut more = files.clone();
        add_part(PARTS, &mut more, &mut next);
        let before = objects.list(LISTS).await?.len();
        next.manifests = write_manifests(&objects, 2, &next.manifests, &more).await?;
        assert!(log::publish(&objects, &next).await?);
        assert!(objects.list(LISTS).await?.len() <= before + 2);
        let read = log::newest(&objects).await?.expect("published");
        assert_eq!(read.snapshot.codes.as_ref().map(Vec::len), Some(PARTS + 1));
        assert_eq!(read.snapshot.text_meta, next.snapshot.text_meta);
        assert!(read.files(&objects).await? == more);

        // A list that is gone is named, and so is the snapshot of a program that is newer.
        objects.remove(&[read.lists[0].name.clone()]).await?;
        assert!(log::newest(&objects).await.is_err());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_short_snapshot_is_written_as_before_and_one_of_before_is_read() {
    // As the program wrote it that knew no lists.
    let of_before = concat!(
        r#"{"format":7,"number":3,"nonce":"n","created_s":1,"documents_version":"9223372036854775813","#,
        r#""pages_version":"7","text_meta":"{\"segments\":[]}","analysis":1,"codes":["a.codes"],"#,
        r#""model":null,"dim":2,"documents":3,"pages":4,"plans":{"p":2},"manifests":[]}"#,
        "\n"
    );
    let hash = crate::snapshot::pointer::hash_line(of_before.as_bytes());
    let bytes = format!("{of_before}{hash}");
    let read = Entry::parse(Path::new("s3://b/p/snapshots/3.json"), bytes.as_bytes()).unwrap();
    assert_eq!(read.snapshot.codes, Some(vec!["a.codes".to_string()]));
    assert!(read.lists.is_empty());
    assert_eq!(String::from_utf8(read.to_bytes()).unwrap(), bytes);
}
