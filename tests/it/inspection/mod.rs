//! Inspecting images: how results are shown, and what is found in a tree of this host.

mod forms;
mod local;
mod space;
