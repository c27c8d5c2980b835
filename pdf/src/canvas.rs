//! Memory that a worker draws in and its parent reads, so that pictures do not go through a pipe.
//!
//! This is a sealed memfd, which Linux alone has; elsewhere the worker draws in its own memory and
//! sends the bytes.

use std::io;

use crate::limits::{MAX_PIXELS, MAX_SIDE_PX};

/// The most that one drawing takes, bytes: RGB of the largest picture, and pdfium's padding of each
/// row to four bytes. Both sides map as much.
pub(crate) const CANVAS_BYTES: usize = MAX_PIXELS as usize * 3 + MAX_SIDE_PX as usize * 3;

/// The memory of a larger picture than this is given back once the picture is read, bytes.
const KEPT_BYTES: usize = 32 << 20;

/// The worker's side.
pub(crate) enum Canvas {
    /// Seen by the parent.
    #[cfg(target_os = "linux")]
    Shared(memmap2::MmapMut),
    /// Sent to the parent.
    Own(Vec<u8>),
}

impl Canvas {
    /// Opens the canvas that the parent left at descriptor `fd`; the worker's own memory for
    /// `None`.
    pub fn inherited(fd: Option<i32>) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Some(fd) = fd {
            use std::os::fd::FromRawFd;
            // SAFETY: the parent passes this descriptor for this purpose, and nothing else here
            // owns it.
            let file = unsafe { std::fs::File::from_raw_fd(fd) };
            // SAFETY: the seal keeps the file from shrinking, and only this process writes it.
            let map = unsafe { memmap2::MmapOptions::new().len(CANVAS_BYTES).map_mut(&file)? };
            return Ok(Self::Shared(map));
        }
        let _ = fd;
        Ok(Self::Own(Vec::new()))
    }

    /// Its first `bytes` bytes, which hold whatever was drawn before.
    pub fn take(&mut self, bytes: usize) -> &mut [u8] {
        match self {
            #[cfg(target_os = "linux")]
            Self::Shared(map) => &mut map[..bytes],
            Self::Own(own) => {
                own.resize(bytes, 0);
                own
            }
        }
    }

    /// The drawn bytes that must be sent; empty when the parent sees the canvas.
    pub fn to_send(&self) -> &[u8] {
        match self {
            #[cfg(target_os = "linux")]
            Self::Shared(_) => &[],
            Self::Own(own) => own,
        }
    }
}

/// The parent's side.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) struct View {
    file: std::fs::File,
    map: memmap2::MmapRaw,
}

#[cfg(target_os = "linux")]
impl View {
    /// An empty canvas; memory is taken as it is drawn on.
    pub fn create() -> io::Result<Self> {
        use std::os::fd::{AsRawFd, FromRawFd};
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: the name is a C string; the call touches no other memory of ours.
        let fd = unsafe { libc::memfd_create(c"pagesight-canvas".as_ptr(), flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and owned by nothing else.
        let file = unsafe { std::fs::File::from_raw_fd(fd) };
        file.set_len(CANVAS_BYTES as u64)?;
        // A worker that shrinks it would kill its reader (SIGBUS).
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: takes two integers.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let map = memmap2::MmapOptions::new().len(CANVAS_BYTES).map_raw_read_only(&file)?;
        Ok(Self { file, map })
    }

    /// Leaves the canvas open in the process that `command` will start, and returns the
    /// descriptor's number there.
    pub fn pass_to(&self, command: &mut std::process::Command) -> i32 {
        use std::os::fd::AsRawFd;
        use std::os::unix::process::CommandExt;
        let fd = self.file.as_raw_fd();
        // SAFETY: between fork and exec it makes one async-signal-safe call.
        unsafe {
            command.pre_exec(move || match libc::fcntl(fd, libc::F_SETFD, 0) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        fd
    }

    /// Copies the first `bytes`; `None` when that is more than the canvas has.
    pub fn read(&self, bytes: usize) -> Option<Vec<u8>> {
        use std::os::fd::AsRawFd;
        if bytes > self.map.len() {
            return None;
        }
        let mut copy = Vec::with_capacity(bytes);
        // SAFETY: both sides have `bytes` bytes and do not overlap. No reference to the shared
        // memory is made: a worker out of control may write it meanwhile, and then these bytes,
        // which are plain numbers, are as wrong as it likes.
        unsafe {
            std::ptr::copy_nonoverlapping(self.map.as_ptr(), copy.as_mut_ptr(), bytes);
            copy.set_len(bytes);
        }
        if bytes > KEPT_BYTES {
            let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            let fd = self.file.as_raw_fd();
            // SAFETY: takes integers. When it fails the memory stays taken, no more.
            unsafe { libc::fallocate(fd, mode, 0, CANVAS_BYTES as libc::off_t) };
        }
        Some(copy)
    }
}

/// The parent's side, where memory is not shared.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(crate) struct View;

#[cfg(not(target_os = "linux"))]
impl View {
    pub fn create() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn pass_to(&self, _command: &mut std::process::Command) -> i32 {
        unreachable!("there is no view to pass")
    }

    pub fn read(&self, _bytes: usize) -> Option<Vec<u8>> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn what_one_side_draws_the_other_reads() {
        let view = View::create().unwrap();
        // SAFETY: duplicates a descriptor.
        let fd = unsafe { libc::dup(view.file.as_raw_fd()) };
        let mut canvas = Canvas::inherited(Some(fd)).unwrap();
        canvas.take(5).copy_from_slice(b"drawn");
        assert!(canvas.to_send().is_empty());
        assert_eq!(view.read(5).unwrap(), b"drawn");
        assert_eq!(view.read(CANVAS_BYTES + 1), None);
        // A large picture's memory is given back once it is read.
        canvas.take(CANVAS_BYTES).fill(7);
        assert_eq!(view.read(CANVAS_BYTES).unwrap(), vec![7; CANVAS_BYTES]);
        assert_eq!(canvas.take(5), [0; 5]);
    }

    #[test]
    fn a_worker_cannot_shrink_it() {
        let view = View::create().unwrap();
        assert!(view.file.set_len(0).is_err());
    }

    #[test]
    fn own_memory_is_sent() {
        let mut canvas = Canvas::inherited(None).unwrap();
        canvas.take(9).fill(1);
        canvas.take(3).copy_from_slice(b"rgb");
        assert_eq!(canvas.to_send(), b"rgb");
    }
}
