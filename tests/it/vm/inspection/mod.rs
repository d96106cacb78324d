//! Inspecting real images in a real appliance.

mod images;
mod kill;
mod machine;
mod many;
mod roots;
