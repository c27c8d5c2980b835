//! Resource limits that a worker sets for itself.

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

/// Closes every descriptor but the three standard ones, since the parent may have inherited others
/// from a shell, and forbids new descriptors, new processes and growing files. Old kernels can do
/// most of this; where a call fails, landlock and seccomp still stand.
#[cfg(target_os = "linux")]
pub fn close_the_rest() {
    const FIRST: libc::c_uint = 3;
    // SAFETY: takes integers. Nothing that this process still uses lies behind a descriptor
    // above the standard ones: the canvas stays mapped, libpdfium too.
    unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) };
    for (resource, most) in
        [(libc::RLIMIT_NOFILE, FIRST.into()), (libc::RLIMIT_NPROC, 0), (libc::RLIMIT_FSIZE, 0)]
    {
        let _ = limit(resource, Some(most));
    }
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
