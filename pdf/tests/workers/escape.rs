//! What a PDF that takes its worker over may try. Each attempt is a process that shuts itself in
//! as a worker does; without the sandbox each succeeds, so that a refusal means something.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, exit};

use pagesight_core::{DrawSize, PictureSize};
use pagesight_pdf::{Sandbox, shut_in};

use crate::{fixtures, start};

const VERB: &str = "__attempt";

/// Exit codes of an attempt.
const DONE: i32 = 0;
const REFUSED: i32 = 7;

/// What an attempt may touch.
struct Target<'a> {
    folder: &'a Path,
    port: u16,
    /// Opened before the sandbox closed, as an inherited descriptor is.
    open: File,
}

type Attempt = (&'static str, fn(Target<'_>) -> io::Result<()>);

const ATTEMPTS: [Attempt; 19] = [
    ("read /etc/passwd", |_| fs::read("/etc/passwd").map(drop)),
    ("read a file that was open before", |mut target| {
        target.open.read_to_end(&mut Vec::new()).map(drop)
    }),
    ("list a folder", |_| fs::read_dir("/").map(drop)),
    ("read a system font", |target| fs::read(target.folder.join("font.ttf")).map(drop)),
    ("write a file", |target| fs::write(target.folder.join("written"), "x")),
    ("change a file", |target| {
        File::options().append(true).open(target.folder.join("kept")).map(drop)
    }),
    ("remove a file", |target| fs::remove_file(target.folder.join("removed"))),
    ("rename a file", |target| {
        fs::rename(target.folder.join("renamed"), target.folder.join("renamed away"))
    }),
    ("make a link", |target| {
        std::os::unix::fs::symlink("/etc", target.folder.join("link")).map(drop)
    }),
    ("connect by TCP", |target| TcpStream::connect(("127.0.0.1", target.port)).map(drop)),
    ("listen", |_| TcpListener::bind("127.0.0.1:0").map(drop)),
    ("send by UDP", |target| {
        UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", ("127.0.0.1", target.port)).map(drop)
    }),
    ("connect to a socket of this machine", |target| {
        UnixStream::connect(target.folder.join("socket")).map(drop)
    }),
    // Becomes that program, which ends with 0.
    ("exec", |_| Err(Command::new("/bin/true").exec())),
    // SAFETY: the child calls nothing but _exit.
    ("fork", |_| match unsafe { libc::fork() } {
        0 => unsafe { libc::_exit(0) },
        child => done(child),
    }),
    ("start a thread", |_| {
        let thread = std::thread::Builder::new().spawn(|| ())?;
        thread.join().map_err(|_| io::Error::other("the thread ended"))
    }),
    // SAFETY: signal 0 is none; only the right to send it is asked for.
    ("signal the parent", |_| done(unsafe { libc::kill(libc::getppid(), 0) })),
    ("make memory executable", |_| {
        let (code, map) = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC, libc::MAP_PRIVATE);
        // SAFETY: asks for new memory, which nothing uses.
        let got = unsafe {
            libc::mmap(std::ptr::null_mut(), 4096, code, map | libc::MAP_ANONYMOUS, -1, 0)
        };
        done(if got == libc::MAP_FAILED { -1 } else { 0 })
    }),
    // SAFETY: the name is a C string.
    ("make a file in memory", |_| done(unsafe { libc::memfd_create(c"x".as_ptr(), 0) })),
];

fn done(got: libc::c_int) -> io::Result<()> {
    if got < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Runs attempt `number` in this process, in the sandbox that is named, and never returns.
pub fn attempt_if_asked(arguments: &[String]) {
    let [verb, sandbox, number, folder, port] = arguments else { return };
    if verb != VERB {
        return;
    }
    let open = File::open("/etc/passwd").unwrap();
    let target = Target { folder: Path::new(folder), port: port.parse().unwrap(), open };
    match sandbox.as_str() {
        "off" => assert!(!shut_in(Sandbox::Off).is_whole()),
        _ => assert!(shut_in(Sandbox::Require).is_whole()),
    }
    match ATTEMPTS[number.parse::<usize>().unwrap()].1(target) {
        Ok(()) => exit(DONE),
        Err(error) => {
            eprintln!("{error}");
            exit(REFUSED)
        }
    }
}

pub fn every_way_out_is_refused() {
    start(Sandbox::Require).expect("the whole sandbox");
    let program = std::env::current_exe().unwrap();
    for (number, (name, _)) in ATTEMPTS.iter().enumerate() {
        for (sandbox, expected) in [("require", REFUSED), ("off", DONE)] {
            let folder = tempfile::tempdir().unwrap();
            for file in ["kept", "removed", "renamed", "font.ttf"] {
                fs::write(folder.path().join(file), "as it was").unwrap();
            }
            let _socket = UnixListener::bind(folder.path().join("socket")).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let before = content(folder.path());
            let output = Command::new(&program)
                .args([VERB, sandbox, &number.to_string()])
                .arg(folder.path())
                .arg(port.to_string())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(expected), "{name}, sandbox {sandbox}: {said}");
            if expected == REFUSED {
                println!("  {name}: {}", said.trim());
                assert_eq!(content(folder.path()), before, "{name}");
            }
        }
    }
}

fn content(folder: &Path) -> Vec<(String, Option<Vec<u8>>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut content: Vec<_> =
        entries.map(|path| (path.display().to_string(), fs::read(path).ok())).collect();
    content.sort();
    content
}

/// Seen from outside, in the middle of a document.
pub fn a_worker_that_serves_is_shut_in() {
    let mut renderer = start(Sandbox::Require).expect("the whole sandbox");
    let pid = renderer.process_id();
    let bytes = fs::read(fixtures().join("pdf/form.pdf")).unwrap();
    assert_eq!(renderer.open(&bytes, &[]).unwrap().0, 2);
    let size = PictureSize { width_px: 64, height_px: 64 };
    renderer.draw(1, DrawSize::exact(size)).unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "Threads:\t1"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut open: Vec<_> = open.map(|entry| entry.unwrap().file_name()).collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"]);
}
