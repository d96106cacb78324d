//! What a child gives up between fork and exec, and what this kernel offers for it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::libc;

use super::{done, lower_limit};

/// In a filter, this constant stands for the child's process id, which is known only after fork.
pub const OWN_PID: u32 = 0x7fff_fb1f;

/// The greatest number of capabilities that a kernel may have (`kernel_cap_t` has 64 bits).
const CAPABILITIES: libc::c_ulong = 64;

/// The user that a child of root becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildUser {
    /// The sum of this number and the process id, so that no other process has it.
    Own(u32),
    Fixed(u32),
}

/// An entry of a BPF program (`struct sock_filter` of <linux/filter.h>).
pub type Instruction = libc::sock_filter;

/// What a child gives up. Everything is made before fork: [`Self::enter`] allocates nothing.
#[derive(Debug, Default)]
pub struct Confinement {
    /// The user and group to become; only root can. All other groups are dropped.
    pub user: Option<(ChildUser, Option<u32>)>,
    pub landlock: Option<OwnedFd>,
    /// Installed in this order; the last one need not allow what installs the others.
    pub filters: Vec<Vec<Instruction>>,
    /// RLIMIT_NOFILE.
    pub max_descriptors: Option<u64>,
    /// RLIMIT_MEMLOCK, in bytes.
    pub max_locked: Option<u64>,
    /// Whether capabilities are given up and can no longer be gained.
    pub unprivileged: bool,
    /// Where the first file that the child opens for writing comes from ([`super::OpenAnswers`]).
    pub answered: Option<OwnedFd>,
}

impl Confinement {
    /// The user, and all capabilities. Before the parent-death signal is set, because a change of
    /// credentials clears that. Async-signal-safe, as is [`Self::enter`]: system calls only.
    pub(super) fn drop_privileges(&self) -> io::Result<()> {
        use nix::sys::resource::Resource;
        if let Some(limit) = self.max_descriptors {
            lower_limit(Resource::RLIMIT_NOFILE, limit)?;
        }
        if let Some(limit) = self.max_locked {
            lower_limit(Resource::RLIMIT_MEMLOCK, limit)?;
        }
        if !self.unprivileged {
            return Ok(());
        }
        for capability in 0..CAPABILITIES {
            // Fails without CAP_SETPCAP; then exec grants nothing either, by NO_NEW_PRIVS.
            // SAFETY: PR_CAPBSET_DROP takes a number.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        }
        if let Some((user, group)) = self.user {
            become_user(user, group)?;
        }
        // SAFETY: PR_CAP_AMBIENT_CLEAR_ALL takes no argument.
        unsafe {
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_CLEAR_ALL,
                0,
                0,
                0,
            )
        };
        drop_capabilities()
    }

    /// Everything else. The last step before exec.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        if self.unprivileged {
            // SAFETY: PR_SET_NO_NEW_PRIVS takes a number.
            done(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
        }
        if let Some(socket) = &self.answered {
            super::open_answer::hand_over(socket.as_fd())?;
        }
        if let Some(ruleset) = &self.landlock {
            let fd = ruleset.as_raw_fd();
            // SAFETY: landlock_restrict_self(2) takes a descriptor and flags.
            let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, fd, 0) };
            done(result as libc::c_int)?;
        }
        // SAFETY: getpid(2) cannot fail.
        let own = unsafe { libc::getpid() } as u32;
        for filter in &mut self.filters {
            for instruction in filter.iter_mut().filter(|one| one.k == OWN_PID) {
                instruction.k = own;
            }
            let program = libc::sock_fprog {
                len: filter.len() as libc::c_ushort,
                filter: filter.as_mut_ptr(),
            };
            let (mode, program) = (libc::SECCOMP_MODE_FILTER, &raw const program);
            // SAFETY: the program lives until the call returns, and has `len` instructions.
            done(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, program, 0, 0) })?;
        }
        Ok(())
    }
}

fn become_user(user: ChildUser, group: Option<u32>) -> io::Result<()> {
    // SAFETY: getpid(2) cannot fail.
    let own = unsafe { libc::getpid() } as u32;
    let uid = match user {
        ChildUser::Own(base) => base + own,
        ChildUser::Fixed(uid) => uid,
    };
    let gid = group.unwrap_or(uid);
    let none = std::ptr::null::<libc::gid_t>();
    // The C library's functions would change all threads; this process has one.
    // SAFETY: these system calls take numbers, and an empty list of groups.
    let results = unsafe {
        [
            libc::syscall(libc::SYS_setgroups, 0, none),
            libc::syscall(libc::SYS_setresgid, gid, gid, gid),
            libc::syscall(libc::SYS_setresuid, uid, uid, uid),
        ]
    };
    results
        .iter()
        .try_for_each(|result| done(*result as libc::c_int))
}

/// `struct __user_cap_header_struct` and `__user_cap_data_struct` of <linux/capability.h>.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: libc::c_int,
}

fn drop_capabilities() -> io::Result<()> {
    /// _LINUX_CAPABILITY_VERSION_3: two sets of three words.
    const VERSION: u32 = 0x2008_0522;
    let header = CapabilityHeader {
        version: VERSION,
        pid: 0,
    };
    let none = [0_u32; 6];
    // SAFETY: both structures are as <linux/capability.h> has them; the kernel reads them.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    done(result as libc::c_int)
}

/// The version of Landlock's interface that this kernel has; 0 if it has none, or not enabled.
pub fn landlock_version() -> u32 {
    const VERSION: libc::c_int = 1;
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag landlock_create_ruleset(2) reads nothing and returns a number.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, VERSION) };
    u32::try_from(version).unwrap_or(0)
}

/// Whether this kernel takes filters of system calls.
pub fn has_seccomp() -> bool {
    // With a null program the kernel fails with EFAULT if it has them, else with EINVAL.
    let (mode, none) = (libc::SECCOMP_MODE_FILTER, std::ptr::null::<libc::c_void>());
    // SAFETY: a null program is never installed.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, none, 0, 0) };
    result == -1 && nix::errno::Errno::last() == nix::errno::Errno::EFAULT
}
