//! QMP, QEMU's JSON protocol (docs/interop/qmp-spec.rst in QEMU's source).
//!
//! [`codec`] is the wire format, [`client`] a session with a QEMU, [`probe`] starts a QEMU without a
//! machine for a few questions. `qapi` provides the types of commands, replies and events.

pub mod client;
pub mod codec;
pub mod probe;
