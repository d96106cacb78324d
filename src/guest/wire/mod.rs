//! What bivouac and its agent say to each other over one byte channel, a virtio-serial port.
//! Pure: bytes in, frames out. Opens, reads and writes nothing; both ends use it as it is.
//!
//! # A frame
//!
//! | offset | size | field                                                            |
//! |-------:|-----:|------------------------------------------------------------------|
//! |      0 |    4 | length of the payload in bytes, little-endian                    |
//! |      4 |    1 | kind                                                             |
//! |      5 |    4 | stream, little-endian; 0 where the frame is of no stream         |
//! |      9 |    - | the payload                                                      |
//!
//! | kind | name    | stream | payload                         | meaning                       |
//! |-----:|---------|--------|---------------------------------|-------------------------------|
//! |    1 | hello   | 0      | JSON, to [`MAX_HELLO`]          | [`Hello`]: who speaks         |
//! |    2 | control | 0      | JSON, to [`MAX_CONTROL`]        | [`Request`], or [`AgentMessage`] |
//! |    3 | data    | yes    | 1 to [`MAX_DATA`] bytes         | bytes of a stream             |
//! |    4 | end     | yes    | none                            | end-of-file: no more data     |
//! |    5 | credit  | yes    | 4 bytes, little-endian          | so many more bytes are welcome|
//! |    6 | stop    | yes    | none                            | the reader wants no more      |
//!
//! Anything else ends the conversation with a [`WireError`] that names it.
//!
//! # Streams
//!
//! A stream has one direction: those with odd numbers run to the agent, those with even ones to
//! the host. The host numbers it, never twice in a conversation, in the request that needs it,
//! and it exists from the moment the agent answers that request with
//! success. Its writer may send [`WINDOW`] bytes and then as many as the reader credits
//! ([`SendWindow`], [`ReceiveWindow`]), so a reader that dawdles holds at most a window, and
//! never makes the other side grow. The writer always sends the last frame, `end` (or, from
//! the agent, the notice [`Notice::Broken`] in its place), also after a `stop`; until it comes
//! the reader takes what had been under way. A credit or a stop may cross with that last frame,
//! so the writer ignores them on a stream that is over.
//!
//! # The beginning, and stale bytes
//!
//! The host says hello first, with a nonce; the agent's hello repeats the nonce. A hello is
//! preceded by [`PREAMBLE`], whose first four bytes are a length that no frame may have. A
//! port can still hold the bytes of an earlier conversation, so
//!
//! - before the first hello, and after the other end hung up, whatever is not a preamble
//!   followed by a well-formed hello is skipped, byte by byte;
//! - the host also skips hellos with another nonce than its own: answers to somebody else;
//! - within a conversation, a hello at the border of a frame begins a new one: the agent ends
//!   every command and drops every stream of the old one. (A machine that is restored from a
//!   template is spoken to in this way.)

mod byte_string;
mod decoder;
pub mod disks;
mod error;
mod files;
mod frame;
mod message;
mod request;
pub mod seed;
#[cfg(test)]
mod tests;
mod window;

pub use byte_string::ByteString;
pub use decoder::Decoder;
pub use error::WireError;
pub use files::{Entry, FileKind, FileSystem, Stat, TarOptions};
pub use frame::{Frame, StreamId, put_control, put_credit, put_data, put_end, put_hello, put_stop};
pub use message::{
    AgentMessage, ErrorStage, ExecEnd, Hello, Nonce, Notice, RemoteError, Reply, Response, Role,
    parse,
};
pub use request::{CloneIdentity, Exec, Operation, PathAt, Request, User, WindowSize};
pub use window::{ReceiveWindow, SendWindow};

/// The version of this language. Both ends must speak the same.
pub const PROTOCOL: u32 = 1;

/// The name of the virtio-serial port.
pub const PORT: &str = "org.bivouac.agent.0";

/// Bytes of a frame's header.
pub const HEADER: usize = 9;

/// The largest payload of a data frame.
pub const MAX_DATA: usize = 64 << 10;

/// The largest payload of a control frame.
pub const MAX_CONTROL: usize = 1 << 20;

/// The largest payload of a hello.
pub const MAX_HELLO: usize = 4 << 10;

/// What stands before a hello: a length that no frame may have, and a name.
pub const PREAMBLE: [u8; 16] = *b"\xff\xff\xff\xffbivouac.wire";

/// How many bytes of one stream may be under way, unread.
pub const WINDOW: u32 = 256 << 10;

/// The longest line of a stream of [`Entry`] values, its newline included.
pub const MAX_LINE: usize = 128 << 10;
