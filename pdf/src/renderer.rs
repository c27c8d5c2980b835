//! The parent's side of a worker: start it, ask it, and kill it when its time is over.

use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pagesight_core::{PageImage, PageSize};

use crate::canvas::{CANVAS_BYTES, View};
use crate::protocol::{Asked, Bounds, Draw, Request, Response, receive, send};
use crate::sandbox::{Confinement, Sandbox};
use crate::settings::Limits;
use crate::worker::VERB;

/// A page as drawn and read by a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    /// Size as displayed.
    pub size: PageSize,
    /// The text layer, in its own order.
    pub text: String,
    /// The page has more text than the limit.
    pub text_cut: bool,
    /// The picture, when one was asked for.
    pub image: Option<PageImage>,
}

/// What went wrong with a worker or in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RendererError {
    /// The program could not be started.
    #[error("starting {program}")]
    Start {
        /// The worker program.
        program: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// libpdfium could not be loaded.
    #[error("libpdfium cannot be loaded: {reason}")]
    Library {
        /// What the loader says.
        reason: String,
    },
    /// A wall of the sandbox is missing, and every one was required.
    #[error("the sandbox is not whole: {confinement}")]
    Sandbox {
        /// What there is of it.
        confinement: Confinement,
    },
    /// The document cannot be opened; the worker is fine.
    #[error("{reason}")]
    Document {
        /// One line.
        reason: String,
        /// Whether a password would help.
        password: bool,
    },
    /// The page cannot be read; the worker is fine.
    #[error("{reason}")]
    Page {
        /// One line.
        reason: String,
    },
    /// The worker took longer than it may and was stopped.
    #[error("took longer than {seconds} s and was stopped")]
    Timeout {
        /// The limit, s.
        seconds: u64,
    },
    /// The worker said what no worker of ours says, and was stopped.
    #[error("the PDF reader lost its way and was stopped ({what})")]
    Nonsense {
        /// One line.
        what: String,
    },
    /// The worker died: a crash of the reader or the end of its memory.
    #[error("crashed the PDF reader or needed more than {megabytes} MB ({status})")]
    Died {
        /// How it ended.
        status: String,
        /// Its memory limit, MB.
        megabytes: u64,
    },
}

impl RendererError {
    /// Whether the worker must be replaced.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Document { .. } | Self::Page { .. })
    }
}

/// One worker process with at most one open document.
#[derive(Debug)]
pub struct Renderer {
    requests: ChildStdin,
    responses: BufReader<ChildStdout>,
    /// Where the worker draws; without it pictures come as bytes.
    canvas: Option<View>,
    watch: Arc<Watch>,
    limits: Limits,
    confinement: Confinement,
    /// Opened so far.
    documents: u32,
}

#[derive(Debug)]
struct Watch {
    state: Mutex<WatchState>,
    changed: Condvar,
}

#[derive(Debug)]
struct WatchState {
    child: Child,
    /// The child has been waited for: its number may be another process's.
    reaped: bool,
    deadline: Option<Instant>,
    timed_out: bool,
    over: bool,
    /// Ends the worker when it is set.
    given_up: Option<Arc<AtomicBool>>,
}

/// How often a worker at work is looked after.
const TICK: Duration = Duration::from_millis(50);

impl Renderer {
    /// Starts `program` as a worker that loads the libpdfium at `pdfium` and shuts itself in.
    ///
    /// # Errors
    /// [`RendererError::Start`], [`RendererError::Library`] and [`RendererError::Sandbox`].
    pub fn start(
        program: &Path,
        pdfium: &Path,
        limits: &Limits,
        sandbox: Sandbox,
    ) -> Result<Self, RendererError> {
        let mut command = Command::new(program);
        command.arg(VERB).arg(pdfium).arg(limits.worker_bytes.to_string()).arg(sandbox.as_str());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Ctrl-C is for the parent, which ends its workers in its own time.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let failed = |source| RendererError::Start { program: program.to_path_buf(), source };
        let canvas = View::create().ok();
        if let Some(canvas) = &canvas {
            let fd = canvas.pass_to(&mut command);
            command.arg(fd.to_string());
        }
        let mut child = command.spawn().map_err(failed)?;
        let requests = child.stdin.take().expect("stdin is piped");
        let responses = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let state = WatchState {
            child,
            reaped: false,
            deadline: None,
            timed_out: false,
            over: false,
            given_up: None,
        };
        let watch = Arc::new(Watch { state: Mutex::new(state), changed: Condvar::new() });
        thread::spawn({
            let watch = Arc::clone(&watch);
            move || watch.run()
        });
        let mut renderer = Self {
            requests,
            responses,
            canvas,
            watch,
            limits: limits.clone(),
            confinement: Confinement::unknown(),
            documents: 0,
        };
        let bounds = Bounds::response(0, 0);
        match renderer.under_watch(None, |this| receive(&mut this.responses, bounds))?.0 {
            Response::Ready { confinement } => renderer.confinement = confinement,
            Response::NotReady { reason } => return Err(RendererError::Library { reason }),
            _ => return Err(renderer.nonsense("no greeting")),
        }
        if sandbox == Sandbox::Require && !renderer.confinement.is_whole() {
            return Err(RendererError::Sandbox { confinement: renderer.confinement.clone() });
        }
        Ok(renderer)
    }

    /// What shuts the worker in.
    pub fn confinement(&self) -> &Confinement {
        &self.confinement
    }

    /// Whether a new worker should open the next document: this one has opened as many as it
    /// may, or keeps more memory than it may.
    pub(crate) fn has_served(&self) -> bool {
        let keeps_too_much =
            || self.resident_bytes().is_some_and(|bytes| bytes > self.limits.worker_kept_bytes);
        // One document each, whatever the limits: a new worker is no smaller.
        self.documents > 0 && (self.documents >= self.limits.worker_documents || keeps_too_much())
    }

    /// The worker's own memory now, bytes, without what it shares with others; `None` where the
    /// system does not say.
    fn resident_bytes(&self) -> Option<u64> {
        let pid = self.watch.state.lock().expect("no panic under the lock").child.id();
        let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        let mut pages = pages.split(' ').skip(1).map(|n| n.parse::<u64>().ok());
        let (resident, shared) = (pages.next()??, pages.next()??);
        Some(resident.saturating_sub(shared) * page_bytes())
    }

    /// Ends the worker, whatever it is doing, when `flag` is set from elsewhere.
    pub(crate) fn end_when(&mut self, flag: Arc<AtomicBool>) {
        self.watch.state.lock().expect("no panic under the lock").given_up = Some(flag);
    }

    /// Opens a document in place of the one before: its page count and title.
    ///
    /// # Errors
    /// [`RendererError::Document`] when it cannot be opened; the fatal ones when the worker ended.
    pub fn open(
        &mut self,
        bytes: &[u8],
        passwords: &[String],
    ) -> Result<(u32, Option<String>), RendererError> {
        self.documents += 1;
        let request = Request::Open { passwords: passwords.to_vec() };
        match self.ask(&request, None, bytes)?.0 {
            Response::Opened { pages, title } => Ok((pages, title)),
            Response::NotOpened { reason, password } => {
                Err(RendererError::Document { reason, password })
            }
            _ => Err(self.nonsense("no answer to a document")),
        }
    }

    /// Reads page `number` (1-based) and squeezes its picture to `width_px` x `height_px`, a
    /// model's input; no picture for `None`.
    ///
    /// # Errors
    /// [`RendererError::Page`]; the fatal ones when the worker ended.
    pub fn read(
        &mut self,
        number: u32,
        input: Option<(u32, u32)>,
    ) -> Result<Drawing, RendererError> {
        let draw = input.map(|(width_px, height_px)| Draw::Squeezed { width_px, height_px });
        self.page(number, self.limits.text_bytes, draw)
    }

    /// Draws page `number` (1-based) `width_px` wide, in its own shape.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn draw(&mut self, number: u32, width_px: u32) -> Result<PageImage, RendererError> {
        self.picture(number, Draw::Width(width_px))
    }

    /// Draws page `number` (1-based) for OCR.
    pub(crate) fn scan(&mut self, number: u32, dpi: u32) -> Result<PageImage, RendererError> {
        self.picture(number, Draw::Dpi(dpi))
    }

    fn picture(&mut self, number: u32, draw: Draw) -> Result<PageImage, RendererError> {
        let image = self.page(number, 0, Some(draw))?.image;
        image.ok_or_else(|| RendererError::Page { reason: "no picture came back".into() })
    }

    fn page(
        &mut self,
        number: u32,
        text_bytes: usize,
        draw: Option<Draw>,
    ) -> Result<Drawing, RendererError> {
        let asked = Asked { text_bytes, pixels: self.limits.pixels, draw };
        let (response, body) = self.ask(&Request::Page { number, asked }, Some(&asked), &[])?;
        match response {
            Response::Page { width_pt, height_pt, text, text_cut, width_px, height_px } => {
                let size = PageSize { width_pt, height_pt };
                let image = match draw {
                    None => None,
                    Some(_) => {
                        // Within the canvas: the sides were checked.
                        let bytes = width_px as usize * height_px as usize * 3;
                        let rgb = match &self.canvas {
                            Some(canvas) => canvas.read(bytes),
                            None => Some(body),
                        };
                        let image = rgb.map(|rgb| PageImage::new(width_px, height_px, rgb));
                        let Some(Ok(image)) = image else {
                            return Err(self.nonsense("a picture of another size"));
                        };
                        Some(image)
                    }
                };
                Ok(Drawing { size, text, text_cut, image })
            }
            Response::NoPage { reason } => Err(RendererError::Page { reason }),
            _ => Err(self.nonsense("no answer to a page")),
        }
    }

    fn ask(
        &mut self,
        request: &Request,
        asked: Option<&Asked>,
        body: &[u8],
    ) -> Result<(Response, Vec<u8>), RendererError> {
        let picture = if self.canvas.is_some() { 0 } else { CANVAS_BYTES };
        let bounds = match asked {
            Some(asked) => Bounds::response(asked.text_bytes, picture),
            None => Bounds::response(0, 0),
        };
        self.under_watch(asked, |this| {
            send(&mut this.requests, request, body)?;
            receive(&mut this.responses, bounds)
        })
    }

    /// Runs an exchange that the watch ends, by killing the worker, when the time is over. What
    /// comes back is an answer to what was `asked`.
    fn under_watch(
        &mut self,
        asked: Option<&Asked>,
        exchange: impl FnOnce(&mut Self) -> io::Result<Option<(Response, Vec<u8>)>>,
    ) -> Result<(Response, Vec<u8>), RendererError> {
        self.watch.set(Some(Instant::now() + self.limits.page_time));
        let answer = exchange(self);
        self.watch.set(None);
        match answer {
            Ok(Some(answer)) => match answer.0.check(asked) {
                Ok(()) => Ok(answer),
                Err(what) => Err(self.nonsense(what)),
            },
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(self.nonsense(&error.to_string()))
            }
            Ok(None) | Err(_) => Err(self.died()),
        }
    }

    /// The worker cannot be trusted any more.
    fn nonsense(&mut self, what: &str) -> RendererError {
        self.watch.state.lock().expect("no panic under the lock").end();
        RendererError::Nonsense { what: what.into() }
    }

    fn died(&mut self) -> RendererError {
        let mut state = self.watch.state.lock().expect("no panic under the lock");
        if state.timed_out {
            return RendererError::Timeout { seconds: self.limits.page_time.as_secs() };
        }
        // It may be alive and talk nonsense.
        let mut ended = state.child.try_wait().ok().flatten();
        if ended.is_none() {
            thread::sleep(Duration::from_millis(20));
            state.end();
            ended = state.child.wait().ok();
        }
        state.reaped = true;
        let status = ended.map_or("no answer".into(), |status| status.to_string());
        RendererError::Died { status, megabytes: self.limits.worker_bytes >> 20 }
    }
}

impl Drop for Renderer {
    fn drop(&mut self) {
        let mut state = self.watch.state.lock().expect("no panic under the lock");
        state.over = true;
        state.end();
        let _ = state.child.wait();
        state.reaped = true;
        self.watch.changed.notify_all();
    }
}

impl Watch {
    fn set(&self, deadline: Option<Instant>) {
        let mut state = self.state.lock().expect("no panic under the lock");
        state.deadline = deadline;
        self.changed.notify_all();
    }

    fn run(&self) {
        let mut state = self.state.lock().expect("no panic under the lock");
        while !state.over {
            state = match state.deadline {
                None => self.changed.wait(state).expect("no panic under the lock"),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let given_up =
                        state.given_up.as_ref().is_some_and(|f| f.load(Ordering::Relaxed));
                    if left.is_zero() || given_up {
                        state.timed_out = !given_up;
                        state.deadline = None;
                        state.end();
                        state
                    } else {
                        let waited = self.changed.wait_timeout(state, left.min(TICK));
                        waited.expect("no panic under the lock").0
                    }
                }
            };
        }
    }
}

impl WatchState {
    /// Kills the worker, and whatever it has started in its group: a process that outlived it
    /// would keep the pipe open, and its parent waiting.
    fn end(&mut self) {
        #[cfg(unix)]
        if let (false, Ok(pid)) = (self.reaped, libc::pid_t::try_from(self.child.id())) {
            // SAFETY: takes integers. The child has not been waited for, so that its number,
            // which is its group's too, is still its own.
            unsafe { libc::kill(-pid, libc::SIGKILL) };
        }
        let _ = self.child.kill();
    }
}

#[cfg(unix)]
fn page_bytes() -> u64 {
    // SAFETY: takes an integer and reads a constant of the system.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(not(unix))]
fn page_bytes() -> u64 {
    4096
}
