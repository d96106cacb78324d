//! The protocol between bivouac and its agent, spoken over one byte channel: a virtio-serial
//! port. Pure: bytes in, frames out. Host and agent both use it; it does no I/O.
//!
//! # A frame
//!
//! | offset | size | field                                                            |
//! |-------:|-----:|------------------------------------------------------------------|
//! |      0 |    4 | length of the payload in bytes, little-endian                    |
//! |      4 |    1 | kind                                                             |
//! |      5 |    4 | stream, little-endian; 0 if the frame belongs to no stream       |
//! |      9 |    - | the payload                                                      |
//!
//! | kind | name    | stream | payload                   | meaning                                |
//! |-----:|---------|--------|---------------------------|----------------------------------------|
//! |    1 | hello   | 0      | JSON, to [`MAX_HELLO`]    | [`Hello`]: a conversation begins       |
//! |    2 | control | 0      | JSON, to [`MAX_CONTROL`]  | [`Request`], or [`AgentMessage`]       |
//! |    3 | data    | yes    | 1 to [`MAX_DATA`] bytes   | bytes of a stream                      |
//! |    4 | end     | yes    | none                      | end-of-file: no more data              |
//! |    5 | credit  | yes    | 4 bytes, little-endian    | that many more bytes may be sent       |
//! |    6 | stop    | yes    | none                      | the reader wants no more               |
//! |    7 | placed  | yes    | address, 8 bytes, and     | bytes of a stream, which are in the    |
//! |      |         |        | length, 4, little-endian  | guest's memory                         |
//! |    8 | taken   | 0      | 4 bytes, little-endian    | that many placed frames were read      |
//!
//! Anything else ends the conversation with a [`WireError`] that names it.
//!
//! # Streams
//!
//! A stream has one direction: odd numbers run to the agent, even ones to the host. The host
//! chooses the number, never the same one twice in a conversation, in the request that needs the
//! stream. The stream exists once the agent answers that request with success.
//!
//! Its writer may send [`WINDOW`] bytes, and then as many as the reader credits ([`SendWindow`],
//! [`ReceiveWindow`]). A slow reader therefore has at most the bytes of one window. The writer always
//! sends the last frame, `end` (or, from the agent, the notice [`Notice::Broken`] in its place),
//! even after a `stop`; until then the reader accepts what was in flight. A credit or a stop may
//! cross with that last frame, so the writer ignores them on a stream that has ended.
//!
//! # Placed data
//!
//! Each byte of a channel is copied several times by the guest, which takes long if its processor is
//! emulated. After [`Operation::PlaceData`] the agent may send a placed frame in place of data frames: it
//! names bytes in the guest's physical memory, which the host reads there. They count for the window as
//! others do. The agent leaves them there until the host says that they are taken, in the order in which they
//! were sent; the host says so at once, whether or not the stream's reader has read them.
//!
//! # The beginning, and stale bytes
//!
//! The host says hello first, with a nonce; the agent's hello repeats the nonce. A hello is
//! preceded by [`PREAMBLE`], whose first four bytes are a length that no frame may have. A
//! port can still hold the bytes of an earlier conversation, so
//!
//! - before the first hello, and after the other end hung up, everything that is not a preamble
//!   followed by a well-formed hello is skipped, byte by byte;
//! - the host also skips hellos with a nonce other than its own;
//! - within a conversation, a hello at a frame boundary begins a new one: the agent ends every
//!   command and drops every stream of the old one. (This is how a machine that was restored from
//!   a template is contacted.) With [`Hello::keeps_commands`] commands go on, and what they write is
//!   dropped. (This is how a branch of a running machine is contacted.)

mod byte_string;
mod command;
pub mod crypt;
mod decoder;
pub mod disks;
mod error;
mod files;
mod frame;
pub mod inject;
mod message;
mod record;
mod remote_error;
mod request;
mod stream_id;
#[cfg(test)]
mod tests;
pub mod warning;
mod window;

pub use byte_string::ByteString;
pub use command::{Command, ExecEnd, User, WindowSize};
pub use decoder::Decoder;
pub use error::WireError;
pub use files::{
    Attributes, Details, DigestKey, DigestKind, Entry, FileKind, FileSystem, MAX_CONTENT, Stat,
    TarOptions, TreeDetail, TreeRecord, UNREAD, weight_of,
};
pub use frame::{
    Frame, put_control, put_credit, put_data, put_end, put_hello, put_placed, put_stop, put_taken,
};
pub use message::{AgentMessage, Hello, Nonce, Notice, Reply, Response, Role, parse};
pub use record::{RECORD_HEADER, parse_record, put_record, record_length};
pub use remote_error::{ErrorStage, RemoteError};
pub use request::{CloneIdentity, Operation, PathAt, Request};
pub use stream_id::StreamId;
pub use window::{ReceiveWindow, SendWindow};

/// The protocol's version. Both ends must have the same.
pub const PROTOCOL: u32 = 6;

/// The name of the virtio-serial port.
pub const PORT: &str = "org.bivouac.agent.0";

/// Size of a frame's header in bytes.
pub const HEADER: usize = 9;

/// The largest payload of a data frame.
pub const MAX_DATA: usize = 64 << 10;

/// The largest payload of a control frame.
pub const MAX_CONTROL: usize = 1 << 20;

/// The largest payload of a hello.
pub const MAX_HELLO: usize = 4 << 10;

/// Precedes a hello: a length that no frame may have, and a name.
pub const PREAMBLE: [u8; 16] = *b"\xff\xff\xff\xffbivouac.wire";

/// How many bytes of one stream may be in flight.
pub const WINDOW: u32 = 1 << 20;

/// The longest value of a record, in bytes.
pub const MAX_RECORD: usize = 128 << 10;
