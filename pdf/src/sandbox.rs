//! What a worker gives up before it reads a byte of a document, so that code which a malicious
//! document runs in it reaches nothing.
//!
//! On Linux, landlock takes away every file, TCP port, abstract socket and signal; seccomp leaves
//! only the system calls that drawing needs; resource limits forbid new descriptors and processes.
//! On other systems a worker is a process with a limit on time and, where the system has one, on
//! memory.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether workers must be shut in before they read a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sandbox {
    /// They must; nothing is read on a system where landlock or seccomp is missing.
    Require,
    /// They are, by as much of it as the system has.
    #[default]
    BestEffort,
    /// They are not; limits on time and memory alone hold.
    Off,
}

impl Sandbox {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Require => "require",
            Self::BestEffort => "best-effort",
            Self::Off => "off",
        }
    }

    /// What `as_str` wrote; a worker that does not understand is shut in.
    pub(crate) fn from_word(word: &str) -> Self {
        match word {
            "off" => Self::Off,
            "best-effort" => Self::BestEffort,
            _ => Self::Require,
        }
    }
}

/// One of the two walls of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layer {
    /// It stands. The line says what it takes away.
    Holds(String),
    /// It does not stand. The line says why.
    Missing(String),
}

/// What shuts a worker in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Files and network.
    pub landlock: Layer,
    /// System calls.
    pub seccomp: Layer,
}

impl Confinement {
    /// Whether every wall stands.
    pub fn is_whole(&self) -> bool {
        matches!((&self.landlock, &self.seccomp), (Layer::Holds(_), Layer::Holds(_)))
    }

    /// Before a worker has said it.
    pub(crate) fn unknown() -> Self {
        Self::none("the worker has not said")
    }

    fn none(why: &str) -> Self {
        Self { landlock: Layer::Missing(why.into()), seccomp: Layer::Missing(why.into()) }
    }
}

/// `landlock: no file, no TCP; seccomp: 28 system calls`.
impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |layer: &Layer| match layer {
            Layer::Holds(what) => what.clone(),
            Layer::Missing(why) => format!("missing ({why})"),
        };
        write!(f, "landlock: {}; seccomp: {}", line(&self.landlock), line(&self.seccomp))
    }
}

/// Shuts this process in for the rest of its life: it can open no file, make no connection and
/// start no process. Only the calling thread is confined, so this is for a process that has one
/// thread. The value says which walls stand; what to do where some are missing is for the caller to
/// decide.
///
/// Standard input, output and error stay open; all other descriptors are closed.
pub fn shut_in(sandbox: Sandbox) -> Confinement {
    match sandbox {
        Sandbox::Off => Confinement::none("switched off"),
        Sandbox::Require | Sandbox::BestEffort => walls(),
    }
}

#[cfg(not(target_os = "linux"))]
fn walls() -> Confinement {
    Confinement::none("this system has none: workers are processes with limits only")
}

#[cfg(target_os = "linux")]
fn walls() -> Confinement {
    // In this order: a landlock rule set is a descriptor, and seccomp refuses the rest.
    let landlock = layer(landlock());
    crate::restrict::close_the_rest();
    Confinement { landlock, seccomp: layer(seccomp()) }
}

#[cfg(target_os = "linux")]
fn layer(outcome: Result<String, String>) -> Layer {
    match outcome {
        Ok(what) => Layer::Holds(what),
        Err(why) => Layer::Missing(why),
    }
}

/// Takes away everything that landlock knows of. Nothing has to be allowed, since even fonts come
/// from memory.
#[cfg(target_os = "linux")]
fn landlock() -> Result<String, String> {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, RestrictionStatus, Ruleset, RulesetAttr, RulesetError,
        RulesetStatus, Scope,
    };
    let restrict = || -> Result<RestrictionStatus, RulesetError> {
        Ruleset::default()
            .handle_access(AccessFs::from_all(ABI::V6))?
            .handle_access(AccessNet::from_all(ABI::V6))?
            .scope(Scope::from_all(ABI::V6))?
            .create()?
            .restrict_self()
    };
    match restrict().map_err(|error| error.to_string())?.ruleset {
        RulesetStatus::FullyEnforced => Ok("no file, no TCP, no socket or signal outside".into()),
        RulesetStatus::PartiallyEnforced => Ok("no file, as far as this kernel can".into()),
        RulesetStatus::NotEnforced => Err("this kernel has none, or it is disabled".into()),
    }
}

/// System calls that drawing needs. Others fail with EPERM and do not end the process, so that a
/// library that only tries something, such as a cache or a locale, goes on without it.
#[cfg(target_os = "linux")]
const ALLOWED: [libc::c_long; 22] = [
    // Memory; see `rules` for mmap and mprotect.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // glibc's qsort asks for the size of memory, and sorts in another way when it may not.
    libc::SYS_sysinfo,
    // Locks, time and chance.
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    // Who am I, and how do I end.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    // Signals, for the end of an abort.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
];

#[cfg(target_os = "linux")]
fn seccomp() -> Result<String, String> {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, apply_filter,
    };
    let is = |argument: u8, value: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
    };
    let has_not = |argument: u8, bits: u64| {
        let bits = SeccompCmpOp::MaskedEq(bits);
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, bits, 0)
    };
    // No new code: memory is never made executable.
    let not_executable = || has_not(2, libc::PROT_EXEC as u64);
    let conditions = [
        (libc::SYS_read, vec![is(0, 0)]),
        (libc::SYS_write, vec![is(0, 1), is(0, 2)]),
        (libc::SYS_writev, vec![is(0, 1), is(0, 2)]),
        (libc::SYS_mmap, vec![not_executable()]),
        (libc::SYS_mprotect, vec![not_executable()]),
        // Abort, of this process only.
        (libc::SYS_tgkill, vec![is(0, u64::from(std::process::id()))]),
    ];
    let compile = || -> Result<BpfProgram, seccompiler::BackendError> {
        let mut rules: std::collections::BTreeMap<_, _> =
            ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
        for (call, any_of) in conditions {
            let any_of = any_of.into_iter().map(|condition| SeccompRule::new(vec![condition?]));
            rules.insert(call, any_of.collect::<Result<_, _>>()?);
        }
        let refuse = SeccompAction::Errno(libc::EPERM as u32);
        let arch = std::env::consts::ARCH.try_into()?;
        SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?.try_into()
    };
    let program = compile().map_err(|error| error.to_string())?;
    apply_filter(&program).map_err(|error| error.to_string())?;
    Ok(format!("{} system calls, no new code", ALLOWED.len() + 6))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;

    /// Both walls hold only the thread that raises them.
    fn in_a_thread<T: Send>(run: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| scope.spawn(run).join().unwrap())
    }

    #[test]
    #[ignore = "needs a kernel with landlock"]
    fn landlock_alone_refuses_files_and_connections() {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        let attempts = || {
            [
                fs::read("/etc/passwd").map(drop),
                fs::read_dir("/").map(drop),
                fs::write(folder.path().join("written"), "x"),
                fs::create_dir(folder.path().join("made")),
                TcpStream::connect(here).map(drop),
            ]
        };
        assert!(attempts().iter().all(Result::is_ok), "without it all of this works");
        fs::remove_dir(folder.path().join("made")).unwrap();
        let refused = in_a_thread(|| landlock().map(|_| attempts())).expect("landlock");
        for attempt in refused {
            assert_eq!(attempt.unwrap_err().kind(), ErrorKind::PermissionDenied);
        }
    }

    #[test]
    #[ignore = "needs a kernel with seccomp"]
    fn seccomp_alone_refuses_what_drawing_does_not_need() {
        let attempts = || {
            [
                fs::read("/etc/passwd").map(drop),
                TcpListener::bind("127.0.0.1:0").map(drop),
                thread::Builder::new().spawn(|| ()).map(|thread| thread.join().unwrap()),
                std::process::Command::new("/bin/true").status().map(drop),
            ]
        };
        assert!(attempts().iter().all(Result::is_ok), "without it all of this works");
        let refused = in_a_thread(|| seccomp().map(|_| attempts())).expect("seccomp");
        for attempt in refused {
            assert_eq!(attempt.unwrap_err().kind(), ErrorKind::PermissionDenied);
        }
    }

    #[test]
    fn the_choice_survives_the_command_line() {
        for sandbox in [Sandbox::Require, Sandbox::BestEffort, Sandbox::Off] {
            assert_eq!(Sandbox::from_word(sandbox.as_str()), sandbox);
        }
        assert_eq!(Sandbox::from_word(""), Sandbox::Require);
    }
}
