//! What the writing of a large index takes, measured on parts that are made up: `make fleet` prints it.

use std::time::Instant;

use pagesight_core::seam::{Batch, PageSink};
use pagesight_core::testing::{document_record, page_record};

use super::entry::ManifestMark;
use super::log;
use super::random;
use super::record::{self, Part};
use super::tests::{Bench, id, model};
use crate::runtime::wait;

/// Parts, documents of each, and pages of each of these.
const PARTS: usize = 1000;
const DOCUMENTS: usize = 100;
const PAGES: u32 = 20;

/// The most memory that this process has had, MB.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kb = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kb.unwrap_or(0) / 1024
}

/// Lays down a part for the first shard as a worker does, and copies of it, with other documents and
/// names, for all others.
fn lay_down(bench: &Bench, plan: &record::Plan) {
    let model_id = model().id;
    let mut worker =
        bench.fleet.worker(&plan.id, 0, plan.shards, Some(&model_id)).unwrap().unwrap();
    let (mut documents, mut pages) = (Vec::new(), Vec::new());
    for path in worker.paths() {
        let mut record = document_record(&path, id(&path), PAGES);
        record.model = Some(model_id.clone());
        let of = |number| {
            let words = format!("page {number} of {path}");
            page_record(id(&path), number, &words, Some((2, &[1.0, 0.0, number as f32, 0.5])))
        };
        pages.extend((1..=PAGES).map(of));
        documents.push(record);
    }
    worker.commit(Batch { documents, pages, ..Batch::default() }).unwrap();
    worker.finish().unwrap();
    wait(async {
        let first = Part::read(&bench.objects, &plan.id, 0, 0).await?.unwrap();
        let begin = first.codes.clone().unwrap().replace(".codes", "");
        let meta: serde_json::Value =
            serde_json::from_str(first.text_meta.as_ref().unwrap()).unwrap();
        let segment = meta["segments"][0]["segment_id"].as_str().unwrap().to_string();
        let mut files = Vec::new();
        for name in first.files.keys() {
            files.push((name.clone(), bytes::Bytes::from(bench.objects.get_required(name).await?)));
        }
        for shard in 1..plan.shards {
            let other = format!("{}-{shard}-0-{}", plan.id, random());
            let (a, b) = (random(), random());
            let id = format!("{}-{}-{}-{}-{}{b}", &a[..8], &a[8..12], &a[12..], &b[..4], &b[..4]);
            let id = &id[..36];
            let renamed = |text: &str| {
                text.replace(&begin, &other)
                    .replace(&segment, id)
                    .replace(&segment.replace('-', ""), &id.replace('-', ""))
            };
            for (name, bytes) in &files {
                bench.objects.put_shared(&renamed(name), bytes.clone()).await?;
            }
            let text = serde_json::to_string(&first).unwrap();
            let mut part: Part = serde_json::from_str(&renamed(&text)).unwrap();
            part.shard = shard;
            part.done = true;
            part.nonce = random();
            let planned = record::read_shard(&bench.objects, &plan.id, shard).await?.documents;
            let like = part.documents[0].clone();
            part.documents.clear();
            part.pages.clear();
            for document in planned {
                let mut record = like.clone();
                record.path.clone_from(&document.files[0].path);
                record.document = document.document;
                part.pages.insert(document.document.unwrap(), u64::from(PAGES));
                part.documents.push(record);
            }
            bench.objects.put_new(&part.name(), &part.to_bytes()).await?;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
#[ignore = "a minute: `make fleet` runs it"]
fn a_thousand_parts_are_committed_with_few_requests() {
    let bench = Bench::new("figures-commit");
    let documents: Vec<(String, String)> = (0..PARTS * DOCUMENTS)
        .map(|n| (format!("folder/{n:06}.pdf"), format!("folder/{n:06}.pdf")))
        .collect();
    let documents: Vec<(&str, &str)> = documents.iter().map(|(a, b)| (&**a, &**b)).collect();
    let plan = bench.plan(&documents, PARTS).unwrap();
    lay_down(&bench, &plan);
    bench.faults.asked();
    let (start, before) = (Instant::now(), peak_mb());
    let committed = bench.fleet.commit(&plan.id, false).unwrap();
    let (took, asked) = (start.elapsed(), bench.faults.asked());
    println!(
        "commit of {} parts with {} pages of {} documents: {:.1} s, {} MB more at the peak, {} requests \
         ({:.2} a part)",
        committed.parts,
        committed.pages,
        committed.documents,
        took.as_secs_f64(),
        peak_mb() - before,
        asked.len(),
        asked.len() as f64 / PARTS as f64
    );
    assert_eq!(committed.documents, (PARTS * DOCUMENTS) as u64);
    assert!(asked.len() < 3 * PARTS, "{}", asked.len());
    let newest = wait(log::newest(&bench.objects)).unwrap().unwrap();
    println!(
        "its snapshot has {} bytes ({:.0} a part), its {} manifests {} bytes ({:.0} a part)",
        newest.to_bytes().len(),
        newest.to_bytes().len() as f64 / PARTS as f64,
        newest.manifests.len(),
        newest.manifests.iter().map(|manifest| manifest.bytes).sum::<u64>(),
        newest.manifests.iter().map(|manifest| manifest.bytes).sum::<u64>() as f64 / PARTS as f64
    );
    let most = newest.manifests.iter().max_by_key(|manifest| manifest.bytes).unwrap();
    let full = full_manifest(most);
    println!("a manifest of as many files as it may have: {:.1} MB", full / 1e6);
    assert!(full < 16e6, "{full}");
}

/// Bytes of a manifest with as many files as one may have, by what those of `like` take.
fn full_manifest(like: &ManifestMark) -> f64 {
    like.bytes as f64 / like.files as f64 * super::entry::MOST_FILES as f64
}
