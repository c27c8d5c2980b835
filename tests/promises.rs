//! Promises that only a machine with root or strace can see kept: what is acknowledged was synced,
//! a full disk costs nothing that was committed, nothing asks for the network. They are ignored by
//! default, `make promises` runs them, and where they cannot run they fail.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::random::Random;
use crate::sync::model;
use crate::torture::{FIXTURES, acknowledged, documents, index, index_to_the_end, lines, variant};
use crate::{Place, Ran, of_type};

/// A small disk of its own, in memory; gone with it.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// # Panics
    ///
    /// Where this user may not mount one.
    fn mount(at: PathBuf, megabytes: usize) -> Self {
        fs::create_dir_all(&at).unwrap();
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).stderr(Stdio::null());
        let mounted = mount.status().is_ok_and(|status| status.success());
        assert!(mounted, "only root can mount a small disk");
        Self(at)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Lets the disk be full at random moments of a run.
fn survives_full_disks(times: usize, seed: u64) {
    const MEGABYTES: usize = 24;
    let place = Place::new();
    let disk = SmallDisk::mount(place.path().join("disk"), MEGABYTES);
    fs::create_dir(place.path().join("pdf")).unwrap();
    for n in 0..10 {
        let fixture = FIXTURES[n as usize % FIXTURES.len()];
        fs::write(place.path().join(format!("pdf/{n:02}.pdf")), variant(fixture, n)).unwrap();
    }
    let run = |folder: &str| {
        let folder = format!("{folder}/.pagesight");
        place.run(&[
            "--index",
            &folder,
            "index",
            "--json",
            "--no-ocr",
            "--commit-every",
            "4",
            "--model",
            &model(),
            "pdf",
        ])
    };
    let see = |folder: &str| -> (u64, Vec<Value>) {
        let folder = format!("{folder}/.pagesight");
        assert_eq!(place.run(&["--index", &folder, "verify"]).code, 0);
        let status = place.json(0, &["--index", &folder, "status", "--json"]);
        let pages = of_type(&status, "summary")[0]["pages"].as_u64().unwrap();
        let mut seen = status;
        let ran = place.run(&["--index", &folder, "query", "--json", "a table of hardware"]);
        // Nothing is found in an index that was filled no further than its pointer.
        assert!([0, 1].contains(&ran.code), "{}", ran.err);
        seen.extend(lines(&ran.out));
        seen.retain(|line| line["type"] != "summary");
        (pages, seen)
    };
    fs::create_dir(place.path().join("clean")).unwrap();
    assert_eq!(run("clean").code, 0);
    let clean = see("clean");
    let mut random = Random::new(seed);
    let (mut full, ballast) = (0, disk.0.join("ballast"));
    while full < times {
        let before =
            if disk.0.join(".pagesight/snapshot.json").exists() { see("disk").0 } else { 0 };
        // What is left free is the moment at which the run meets the end of the disk.
        let used = space_of(&disk.0);
        let free = random.below(3 << 20);
        let size = (MEGABYTES << 20).saturating_sub(used + free);
        fs::write(&ballast, vec![1; size]).unwrap();
        let ran = run("disk");
        if ran.code == 2 {
            full += 1;
            assert!(ran.err.contains("the disk is full"), "{}", ran.err);
            assert!(ran.err.contains(" MB"), "{}", ran.err);
        } else {
            assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
        }
        let acknowledged = acknowledged(&lines(&ran.out));
        fs::remove_file(&ballast).unwrap();
        if disk.0.join(".pagesight/snapshot.json").exists() {
            // It opens while the disk is full too, but the ballast may hide a lock file.
            assert_eq!(see("disk").0, before + acknowledged, "the last commit");
        }
        if ran.code == 0 || random.below(4) == 0 {
            let ran = run("disk");
            assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
            assert_eq!(see("disk"), clean);
            fs::remove_dir_all(disk.0.join(".pagesight")).unwrap();
        }
    }
    println!("{full} full disks: a clean error with the bytes needed, the last commit each time");
}

/// Bytes below `folder`.
fn space_of(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => space_of(&entry.path()),
        // A file takes whole blocks.
        _ => entry.metadata().map_or(0, |meta| (meta.len() as usize).div_ceil(4096) * 4096),
    };
    entries.flatten().map(size).sum()
}

#[test]
#[ignore = "needs root: make promises"]
fn a_full_disk_costs_nothing_that_was_committed() {
    survives_full_disks(3, 5);
}

#[test]
#[ignore = "minutes: make torture"]
fn torture_30_full_disks() {
    survives_full_disks(30, 6);
}

/// The system calls named in `which` that `command`, which must end well, and all that it starts
/// make.
fn traced(place: &Place, command: &Command, which: &str) -> String {
    let folder = place.path().canonicalize().unwrap();
    let trace = folder.join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "300", "-e", &format!("trace={which}"), "-o"]).arg(&trace);
    strace.arg(command.get_program()).args(command.get_args()).current_dir(&folder);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    let ran = Ran::from(strace.output().expect("strace, which this promise is seen with"));
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    fs::read_to_string(&trace).unwrap()
}

#[test]
#[ignore = "needs strace: make promises"]
fn indexing_and_searching_ask_for_no_network() {
    let place = Place::new();
    documents(&place, 3);
    let query = ["query", "--json", "-k", "3", "a table of hardware"];
    for command in [index(&place), place.command(&query)] {
        let trace = traced(&place, &command, "execve,socket,connect,sendto");
        assert!(trace.contains("execve("), "strace saw nothing:\n{trace}");
        let network = |line: &&str| line.contains("AF_INET");
        let asked: Vec<&str> = trace.lines().filter(network).collect();
        assert!(asked.is_empty(), "{asked:?}");
    }
    assert!(!index_to_the_end(&place).is_empty());
}

/// One system call of a trace: its name, the paths in its arguments, and what it gave back.
struct Call {
    name: String,
    line: String,
    paths: Vec<String>,
}

fn calls(trace: &str) -> Vec<Call> {
    let mut unfinished: HashMap<String, String> = HashMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((pid, rest)) = line.trim_start().split_once(' ') else { continue };
        let (pid, rest) = (pid.to_string(), rest.trim_start());
        let whole = if let Some(begin) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(pid, begin.to_string());
            continue;
        } else if rest.starts_with("<... ") {
            let Some(begin) = unfinished.remove(&pid) else { continue };
            format!("{begin}{}", rest.split_once("resumed>").map_or("", |(_, end)| end))
        } else {
            rest.to_string()
        };
        let Some((name, arguments)) = whole.split_once('(') else { continue };
        if arguments.contains(") = -1 ") {
            continue;
        }
        // Paths are quoted, or after a descriptor in angle brackets.
        let quoted = arguments.split('"').skip(1).step_by(2).map(String::from);
        let described = arguments
            .split('<')
            .skip(1)
            .filter_map(|part| part.split_once('>').map(|(path, _)| path.to_string()));
        let paths = quoted.chain(described).collect();
        calls.push(Call { name: name.to_string(), paths, line: whole });
    }
    calls
}

/// The system calls of a run, in order: when a commit is acknowledged, every file of its snapshot
/// and every folder that got an entry has been synced, and the pointer was renamed after that.
#[test]
#[ignore = "needs strace: make promises"]
fn what_is_acknowledged_was_synced_before() {
    let place = Place::new();
    documents(&place, 4);
    let place_path = place.path().canonicalize().unwrap();
    let trace = traced(
        &place,
        &index(&place),
        "openat,creat,rename,renameat,renameat2,link,linkat,fsync,fdatasync,write",
    );
    let calls = calls(&trace);
    let root = place_path.join(".pagesight");
    let absolute = |path: &str| {
        if path.starts_with('/') {
            path.to_string()
        } else {
            place_path.join(path.trim_start_matches("./")).to_str().unwrap().to_string()
        }
    };
    // When each path came to be, and each time that it was synced.
    let mut born: BTreeMap<String, usize> = BTreeMap::new();
    let mut synced: HashMap<String, Vec<usize>> = HashMap::new();
    let (mut pointers, mut acknowledgements) = (Vec::new(), Vec::new());
    let pointer = root.join("snapshot.json").to_str().unwrap().to_string();
    for (at, call) in calls.iter().enumerate() {
        match call.name.as_str() {
            "openat" | "creat" if call.line.contains("O_CREAT") || call.name == "creat" => {
                if let Some(path) = call.paths.first() {
                    born.insert(
                        absolute(call.paths.iter().find(|p| *p != "AT_FDCWD").unwrap_or(path)),
                        at,
                    );
                }
            }
            "rename" | "renameat" | "renameat2" | "link" | "linkat" => {
                let names: Vec<String> =
                    call.line.split('"').skip(1).step_by(2).map(absolute).collect();
                // Synced under its old name is synced under its new one.
                let before = synced.get(&names[0]).cloned().unwrap_or_default();
                born.insert(names[1].clone(), at);
                if names[1] == pointer {
                    pointers.push((at, !before.is_empty()));
                }
                synced.insert(names[1].clone(), before);
            }
            "fsync" | "fdatasync" => {
                let path = call.paths.first().expect("-y shows the path").clone();
                synced.entry(path).or_default().push(at);
            }
            "write" if call.line.contains("type\\\":\\\"commit") => acknowledgements.push(at),
            _ => {}
        }
    }
    assert!(acknowledgements.len() >= 3, "{} commits", acknowledgements.len());
    let in_time = |path: &str, from: usize, to: usize| {
        synced.get(path).is_some_and(|times| times.iter().any(|&t| t >= from && t < to))
    };
    let mut checked = 0;
    let snapshot = fs::read_to_string(root.join("snapshot.json")).unwrap();
    let snapshot: Value = serde_json::from_str(snapshot.lines().next().unwrap()).unwrap();
    for name in snapshot["files"].as_object().unwrap().keys() {
        let path = root.join(name).to_str().unwrap().to_string();
        let at = *born.get(&path).unwrap_or_else(|| panic!("{path} is not in the trace"));
        // The first pointer after it came to be is the first that could name it.
        let (published, pointer_synced) = *pointers.iter().find(|(p, _)| *p > at).unwrap();
        assert!(pointer_synced, "the pointer was renamed before it was synced");
        let file_synced =
            synced.get(&path).is_some_and(|times| times.iter().any(|&t| t < published));
        assert!(file_synced, "{name} was published before it was synced");
        let folder = Path::new(&path).parent().unwrap().to_str().unwrap();
        assert!(in_time(folder, at, published), "the folder of {name} was not synced before");
        checked += 1;
    }
    let root = root.to_str().unwrap();
    for acknowledged in &acknowledgements {
        let (renamed, _) = *pointers.iter().rev().find(|(at, _)| at < acknowledged).unwrap();
        assert!(in_time(root, renamed, *acknowledged), "acknowledged before the folder was synced");
    }
    println!(
        "{checked} files of {} commits: each synced, with its folder, before its pointer, and the \
         pointer before its acknowledgement",
        acknowledgements.len()
    );
}
