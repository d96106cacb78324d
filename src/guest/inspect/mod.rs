//! What an image holds, from the host's side: files of a mounted root are read over a session,
//! each up to a limit, and understood here by pure functions. The image's own word is all
//! there is; nothing here is believed further than to be shown.

pub mod filesystems;
