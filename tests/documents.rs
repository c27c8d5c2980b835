//! What the documents and workflows promise is there: links lead somewhere, the targets of make
//! exist, and nothing of a stranger is run that could change overnight.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `folder` with this ending, generated ones left out.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        let skipped = ["target", ".git", ".tools", ".pagesight", "node_modules"];
        if path.is_dir() && !skipped.contains(&&*name) {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) && path.is_file() {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut checked = 0;
    for document in files(root(), ".md") {
        let text = fs::read_to_string(&document).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let pictures = text.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next());
        for link in links.chain(pictures) {
            let path = link.split(['#', ' ']).next().unwrap();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            let target = document.parent().unwrap().join(path);
            assert!(target.exists(), "{} links to {path}", document.display());
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked} links: are they still read?");
}

#[test]
fn every_target_of_make_that_is_named_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let targets: BTreeSet<&str> =
        makefile.lines().filter_map(|line| line.split_once(": ").map(|(name, _)| name)).collect();
    let mut named = files(root(), ".md");
    named.extend(files(&root().join(".github"), ".yml"));
    named.push(root().join(".ci/run"));
    for file in named {
        let text = fs::read_to_string(&file).unwrap();
        // In code, or at the start of a command: `make check`, `- run: make check`.
        let calls = text.split(['`', '\n', '|', '&']).map(|part| {
            let part = part.trim().trim_start_matches("- ").trim_start_matches("run: ");
            part.strip_prefix("make ").map(|rest| rest.split_whitespace().next().unwrap_or(""))
        });
        for target in calls.flatten() {
            assert!(targets.contains(target), "{} names `make {target}`", file.display());
        }
    }
}

#[test]
fn workflows_run_what_was_read_and_may_do_little() {
    let workflows = files(&root().join(".github/workflows"), ".yml");
    assert!(workflows.len() >= 3);
    for workflow in workflows {
        let text = fs::read_to_string(&workflow).unwrap();
        let name = workflow.display();
        assert!(text.contains("\npermissions:\n  contents: read\n"), "{name} asks for more rights");
        assert!(!text.contains("pull_request_target"), "{name} gives rights to strangers' code");
        for action in text.lines().filter_map(|line| line.split_once("uses: ")).map(|(_, it)| it) {
            let commit = action.split_once('@').map_or("", |(_, commit)| commit);
            let commit = commit.split_whitespace().next().unwrap_or_default();
            let pinned = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(pinned, "{name}: {action} can change overnight");
        }
    }
}
