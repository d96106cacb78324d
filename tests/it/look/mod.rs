//! Looking into images: how results are shown, what is found in a tree, and all of it on a real
//! image in a real machine.

mod forms;
mod images;
mod kill;
mod local;
mod machine;
mod many;
mod space;
