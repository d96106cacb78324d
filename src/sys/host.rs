//! What the probe of KVM needs: a VM without QEMU, and the signal that interrupts it.

use std::io;
use std::os::fd::AsRawFd;

use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::{VcpuFd, VmFd};
use nix::libc;

/// A page of guest memory that is part of this program: immutable and never freed.
#[repr(C, align(4096))]
pub struct GuestPage(pub [u8; 4096]);

/// Maps a page into a KVM VM as its slot 0, read-only, at a guest-physical address. EINVAL if KVM
/// lacks read-only memory.
pub fn lend_page(vm: &VmFd, guest_address: u64, page: &'static GuestPage) -> io::Result<()> {
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: KVM_MEM_READONLY,
        guest_phys_addr: guest_address,
        memory_size: size_of::<GuestPage>() as u64,
        userspace_addr: std::ptr::from_ref(page).addr() as u64,
    };
    // SAFETY: the page is 'static and aligned, so it outlives the VM. The slot is read-only, so no
    // guest can write to what Rust takes for immutable.
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

/// Blocks every signal but `signal` while this vCPU runs. A pending `signal` then makes `KVM_RUN`
/// return EINTR. The thread's own mask is restored by then, so no handler runs.
pub fn let_only_interrupt(vcpu: &VcpuFd, signal: nix::sys::signal::Signal) -> io::Result<()> {
    let mask = KvmSignalMask {
        len: 8,
        set: !(1_u64 << (signal as u32 - 1)),
    };
    // SAFETY: the descriptor is a live vCPU, and the kernel reads 4 + `len` bytes, which is exactly
    // the struct.
    super::done(unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_SET_SIGNAL_MASK, &raw const mask) })
}

/// Takes `signal` from this thread's pending signals, if it is there. Never waits. The signal must
/// be blocked; otherwise it is never pending.
pub fn take_pending(signal: nix::sys::signal::Signal) -> bool {
    let mut set = nix::sys::signal::SigSet::empty();
    set.add(signal);
    let now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: both pointers are to live values of the types that the call reads; the pointer for
    // details of the signal may be null.
    unsafe { libc::sigtimedwait(set.as_ref(), std::ptr::null_mut(), &raw const now) > 0 }
}

/// Counts a 16-bit register down to zero with the two instructions `dec; jnz`, as the guest of the
/// KVM probe does, so that the two times can be compared.
pub fn count_down(iterations: u16) {
    // SAFETY: the instructions touch one register, which is declared, and the flags.
    unsafe {
        std::arch::asm!("2:", "dec {0:x}", "jnz 2b", inout(reg) iterations => _,
            options(nomem, nostack));
    }
}
