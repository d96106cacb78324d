//! The host's end of a conversation with a guest. Everything that a guest says is data of a
//! stranger: capped, checked, and never acted upon as a path, a link or a size of this host.
//!
//! [`appliance`] is the guest that we bring along, [`boot`] starts it,
//! [`inspect`] understands what an image holds, and [`session`] is our end of a conversation
//! with any. [`wire`] is the language, which the agent inside the guest speaks too, and the only
//! part of this module that it knows. [`qga`] is for images that bring another agent.

pub mod appliance;
pub mod boot;
pub mod inspect;
pub(crate) mod qga;
pub mod session;
pub mod wire;
