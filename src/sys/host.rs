//! What the checks of the host need: a bare KVM vCPU, and extended attributes.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::{VcpuFd, VmFd};
use nix::libc;

/// A page of guest memory that is part of this program: immutable and never freed.
#[repr(C, align(4096))]
pub struct Page(pub [u8; 4096]);

/// Lends a page to a KVM VM as its slot 0, read-only, at a guest-physical address.
///
/// # Errors
/// What `KVM_SET_USER_MEMORY_REGION` says; EINVAL where KVM lacks read-only memory.
pub fn lend_page(vm: &VmFd, guest_address: u64, page: &'static Page) -> io::Result<()> {
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: KVM_MEM_READONLY,
        guest_phys_addr: guest_address,
        memory_size: size_of::<Page>() as u64,
        userspace_addr: std::ptr::from_ref(page).addr() as u64,
    };
    // SAFETY: the page is 'static and aligned, so it outlives the VM, and the slot is read-only,
    // so no guest can write to what Rust holds to be immutable.
    unsafe { vm.set_user_memory_region(region) }.map_err(io::Error::from)
}

/// `struct kvm_signal_mask` of <linux/kvm.h> with its 8 bytes of signal set.
#[repr(C, packed)]
struct KvmSignalMask {
    len: u32,
    set: u64,
}

// The size in the request's number is that of the C struct, whose set is a flexible array.
const KVM_SET_SIGNAL_MASK: libc::Ioctl =
    nix::request_code_write!(kvm_bindings::KVMIO, 0x8b, size_of::<u32>());

/// Blocks, while this vCPU runs, every signal but `signal`; a pending `signal` then makes
/// `KVM_RUN` return EINTR, and since the thread's own mask is back by then, no handler runs.
///
/// # Errors
/// What `KVM_SET_SIGNAL_MASK` says.
pub fn let_only_interrupt(vcpu: &VcpuFd, signal: nix::sys::signal::Signal) -> io::Result<()> {
    let mask = KvmSignalMask {
        len: 8,
        set: !(1_u64 << (signal as u32 - 1)),
    };
    // SAFETY: the descriptor is a live vCPU's, and the kernel reads 4 + `len` bytes, which is
    // exactly the struct.
    let done = unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_SET_SIGNAL_MASK, &raw const mask) };
    nix::errno::Errno::result(done)
        .map(drop)
        .map_err(io::Error::from)
}

/// Takes `signal` from this thread's pending signals, if it is there. Never waits.
/// The caller has blocked the signal; an unblocked one is never pending.
pub fn take_pending(signal: nix::sys::signal::Signal) -> bool {
    let mut set = nix::sys::signal::SigSet::empty();
    set.add(signal);
    let now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: both pointers are to live values of the types that the call reads; the third, the
    // place for details of the signal, may be null.
    unsafe { libc::sigtimedwait(set.as_ref(), std::ptr::null_mut(), &raw const now) > 0 }
}

/// Counts a 16-bit register down to zero with the two instructions `dec; jnz`, as the bare VM
/// of the KVM trial does, so that the two can be compared.
pub fn count_down(iterations: u16) {
    // SAFETY: the instructions touch one register, which is declared, and the flags.
    unsafe {
        std::arch::asm!("2:", "dec {0:x}", "jnz 2b", inout(reg) iterations => _,
            options(nomem, nostack));
    }
}

/// The value of an extended attribute of a file, symbolic links followed; `None` where there is
/// none, where the filesystem has no such thing, or where it is longer than 4096 bytes.
pub fn extended_attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let name = CString::new(OsStr::new(name).as_bytes()).ok()?;
    let mut value = vec![0_u8; 4096];
    // SAFETY: both strings end in NUL and the kernel writes at most `len` bytes into the buffer.
    let size = unsafe {
        libc::getxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    value.truncate(usize::try_from(size).ok()?);
    Some(value)
}
