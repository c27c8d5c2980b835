//! What a worker takes from itself before it reads a byte of a document.

use std::io;

/// Limits the address space to `bytes`, writes no core files, and ends with the parent.
#[cfg(unix)]
pub fn restrict(bytes: Option<u64>) -> io::Result<()> {
    limit(libc::RLIMIT_CORE, Some(0))?;
    // macOS counts address space in another way and would refuse to start.
    #[cfg(target_os = "linux")]
    {
        limit(libc::RLIMIT_AS, bytes)?;
        // SAFETY: PR_SET_PDEATHSIG takes one integer and touches no memory of ours.
        let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = bytes;
    Ok(())
}

#[cfg(target_os = "linux")]
type Resource = libc::__rlimit_resource_t;
#[cfg(all(unix, not(target_os = "linux")))]
type Resource = libc::c_int;

#[cfg(unix)]
fn limit(resource: Resource, value: Option<u64>) -> io::Result<()> {
    let Some(value) = value else { return Ok(()) };
    let value = value as libc::rlim_t;
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: `limit` is a whole rlimit that outlives the call, which only reads it.
    match unsafe { libc::setrlimit(resource, &limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Elsewhere the time limit alone holds.
#[cfg(not(unix))]
pub fn restrict(_bytes: Option<u64>) -> io::Result<()> {
    Ok(())
}
