//! A worker process under watch. The watch is a thread of its own, for three reasons: it ends a
//! worker whose time is over while its caller waits for an answer; it waits for the process to be
//! gone, so that nobody else has to; and Linux ends the children of a thread that ends, so that a
//! worker must be started by a thread that lives as long as it does.

use std::io;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// How often the stop flag of a worker at work is looked at.
const TICK: Duration = Duration::from_millis(50);

/// A process that ends when this is dropped. Dropping it waits for nothing.
#[derive(Debug)]
pub(crate) struct Watched(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// `None` once its end has been waited for: its number may be another process's by then.
    child: Option<Child>,
    pid: u32,
    /// How it ended, once that is known.
    status: Option<ExitStatus>,
    deadline: Option<Instant>,
    /// Ends the process while there is a deadline, when it is set from elsewhere.
    stop: Option<Arc<AtomicBool>>,
    ended: Option<Ended>,
    over: bool,
}

/// Why the watch ended a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    TimedOut,
    Stopped,
}

impl Watched {
    /// Starts `command`, whose standard input and output must be piped.
    pub fn start(mut command: Command) -> io::Result<(Self, ChildStdin, ChildStdout)> {
        let (send, receive) = sync_channel(1);
        thread::Builder::new().name("worker watch".into()).spawn(move || {
            let started = command.spawn().map(|mut child| {
                let input = child.stdin.take().expect("standard input is piped");
                let output = child.stdout.take().expect("standard output is piped");
                let state = State {
                    pid: child.id(),
                    child: Some(child),
                    status: None,
                    deadline: None,
                    stop: None,
                    ended: None,
                    over: false,
                };
                let shared = Shared { state: Mutex::new(state), changed: Condvar::new() };
                (Arc::new(shared), input, output)
            });
            let shared = started.as_ref().ok().map(|(shared, ..)| Arc::clone(shared));
            let given = send.send(started).is_ok();
            if let (Some(shared), true) = (shared, given) {
                shared.watch();
            }
        })?;
        let gone = || io::Error::other("the thread that watches it ended");
        let (shared, input, output) = receive.recv().map_err(|_| gone())??;
        Ok((Self(shared), input, output))
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.0.lock().pid
    }

    /// Ends it unless [`disarm`](Self::disarm) is called within `limit`.
    pub fn arm(&self, limit: Duration) {
        self.0.lock().deadline = Some(Instant::now() + limit);
        self.0.changed.notify_all();
    }

    /// It has answered in time.
    pub fn disarm(&self) {
        self.0.lock().deadline = None;
    }

    /// Ends it, while it is armed, when `stop` is set from elsewhere.
    pub fn stop_when(&self, stop: Option<Arc<AtomicBool>>) {
        self.0.lock().stop = stop;
    }

    /// Whether it runs.
    pub fn is_alive(&self) -> bool {
        let mut state = self.0.lock();
        state.look();
        state.ended.is_none() && state.child.is_some()
    }

    /// Why the watch ended it, if it did.
    pub fn ended(&self) -> Option<Ended> {
        self.0.lock().ended
    }

    /// Ends it.
    pub fn kill(&self) {
        self.0.lock().kill();
    }

    /// How it ended, for one whose pipes are closed; one that runs all the same is ended.
    pub fn status(&self) -> Option<ExitStatus> {
        const ITS_OWN_TIME: Duration = Duration::from_millis(20);
        let mut state = self.0.lock();
        state.look();
        if state.status.is_none() {
            drop(state);
            thread::sleep(ITS_OWN_TIME);
            state = self.0.lock();
            state.look();
            state.kill();
            if let Some(mut child) = state.child.take() {
                state.status = child.wait().ok();
            }
        }
        state.status
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.over = true;
        state.kill();
        drop(state);
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }

    /// Ends the process when it must end, and waits for its end.
    fn watch(&self) {
        let mut state = self.lock();
        while !state.over {
            state = match state.deadline {
                None => self.changed.wait(state).expect("no panic under the lock"),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let stopped = state.stop.as_ref().is_some_and(|f| f.load(Ordering::Relaxed));
                    if stopped || left.is_zero() {
                        let why = if stopped { Ended::Stopped } else { Ended::TimedOut };
                        state.ended = Some(why);
                        state.deadline = None;
                        state.kill();
                        state
                    } else {
                        let waited = self.changed.wait_timeout(state, left.min(TICK));
                        waited.expect("no panic under the lock").0
                    }
                }
            };
        }
        let child = state.child.take();
        // Others may ask for the state meanwhile.
        drop(state);
        if let Some(mut child) = child {
            let _ = child.wait();
        }
    }
}

impl State {
    /// Takes note of a process that has ended by itself.
    fn look(&mut self) {
        if let Some(child) = &mut self.child
            && let Ok(Some(status)) = child.try_wait()
        {
            self.status = Some(status);
            self.child = None;
        }
    }

    /// Ends the process and whatever it has started in its group: another process that holds the
    /// pipe would keep its parent waiting.
    fn kill(&mut self) {
        let Some(child) = &mut self.child else { return };
        #[cfg(unix)]
        if let Ok(pid) = libc::pid_t::try_from(child.id()) {
            // SAFETY: takes integers. The child has not been waited for, so that its number, which
            // is its group's too, is still its own.
            unsafe { libc::kill(-pid, libc::SIGKILL) };
        }
        let _ = child.kill();
    }
}
