//! Inspecting images: how results are shown, and what is found in a tree of this host.

mod forms;
mod kernels;
mod local;
mod packages;
mod space;

/// Each column of the CSV form is a key of the JSON form, and there is no other.
fn assert_keys(object: &serde_json::Value, columns: &[&str]) {
    let mut keys: Vec<_> = object.as_object().unwrap().keys().collect();
    let mut columns = columns.to_vec();
    keys.sort_unstable();
    columns.sort_unstable();
    assert_eq!(keys, columns);
}
