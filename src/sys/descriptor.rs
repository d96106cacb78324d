//! Descriptors that are passed over a socket (unix(7), SCM_RIGHTS).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;

/// A control message with one descriptor (`struct cmsghdr`, cmsg(3)).
#[repr(C)]
struct DescriptorMessage {
    header: libc::cmsghdr,
    fd: RawFd,
    padding: u32,
}

/// Makes the number of `slot` stand for what `with` is, close-on-exec.
pub fn replace_descriptor(slot: BorrowedFd<'_>, with: OwnedFd) -> io::Result<()> {
    let (from, to) = (with.as_raw_fd(), slot.as_raw_fd());
    // SAFETY: whoever owns `slot` owns what its number stands for, before and after.
    let done = unsafe { libc::dup3(from, to, libc::O_CLOEXEC) };
    Ok(nix::errno::Errno::result(done).map(drop)?)
}

/// Sends a descriptor with a byte 0. Async-signal-safe.
pub fn send_descriptor(socket: BorrowedFd<'_>, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let mut byte = 0_u8;
    let mut data = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let fd_size = size_of::<RawFd>();
    let mut control = DescriptorMessage {
        header: libc::cmsghdr {
            cmsg_len: size_of::<libc::cmsghdr>() + fd_size,
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        },
        fd: descriptor.as_raw_fd(),
        padding: 0,
    };
    // SAFETY: all fields of the structure may be zero.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<DescriptorMessage>();
    // SAFETY: the message and what it points to live until the call returns.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    nix::errno::Errno::result(sent).map(drop)?;
    Ok(())
}

/// What [`send_descriptor`] has sent at the other end of `socket`. Fails if it has not.
pub fn receive_descriptor(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let (_, descriptor) = receive_message::<1>(socket)?;
    descriptor.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// A message of at most `N` bytes, with the descriptor that came with it. Never waits.
pub fn receive_message<const N: usize>(
    socket: BorrowedFd<'_>,
) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let mut bytes = [0; N];
    let mut data = [io::IoSliceMut::new(&mut bytes)];
    let mut control = nix::cmsg_space!(RawFd);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut data, Some(&mut control), flags)?;
    let number = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    let descriptor = number.map(|number| unsafe { OwnedFd::from_raw_fd(number) });
    let length = message.bytes;
    Ok((bytes[..length].to_vec(), descriptor))
}
