//! Block nodes as JSON. Every node names its driver, every backing is explicit, and every file is a
//! descriptor set, or a connection that is open. Pure functions.

use serde_json::{Value, json};

use super::plan::{ChildFd, Disk, Layer};
use crate::image::Format;
use crate::image::remote_image::EXPORT;

/// The file set that holds `fd`: one set per descriptor, numbered after it, because the
/// descriptors of one set must share their access mode.
pub fn fd_set(fd: ChildFd) -> String {
    format!("/dev/fdset/{}", fd.0)
}

/// The nodes of `disk`, base first, so that each refers only to nodes before it. The last one is the
/// overlay, named `name`.
pub fn disk_nodes(name: &str, disk: &Disk) -> Vec<Value> {
    let mut nodes = Vec::with_capacity(disk.layers.len() + 1);
    let mut backing = Value::Null;
    for (depth, layer) in disk.layers.iter().enumerate().rev() {
        let node_name = format!("{name}-layer{depth}");
        nodes.push(layer_node(&node_name, layer, backing));
        backing = Value::String(node_name);
    }
    nodes.push(overlay_node(name, disk.overlay, backing));
    nodes
}

/// A read-only layer. `backing` is null or the name of the node below.
pub fn layer_node(name: &str, layer: &Layer, backing: Value) -> Value {
    let driver = if layer.block_device {
        "host_device"
    } else {
        "file"
    };
    let file = match layer.remote {
        true => json!({
            "driver": "nbd",
            "server": { "type": "fd", "str": layer.fd.0.to_string() },
            "export": EXPORT,
            "read-only": true,
        }),
        false => json!({
            "driver": driver,
            "filename": fd_set(layer.fd),
            "read-only": true,
            "locking": "off",
        }),
    };
    let mut node = json!({
        "driver": layer.format.as_str(),
        "node-name": name,
        "read-only": true,
        "file": file,
    });
    // Formats without backing files do not have the key. For the others it is always written, null
    // at the base; otherwise QEMU would follow the header.
    if matches!(layer.format, Format::Qcow2 | Format::Qed | Format::Vmdk) {
        node["backing"] = backing;
    }
    node
}

/// A disk of size 0, which a restored machine may replace by a real one.
pub fn empty_node(name: &str) -> Value {
    json!({ "driver": "null-co", "node-name": name, "size": 0, "read-zeroes": true })
}

/// The overlay that takes all writes. Flushes are ignored on purpose: it is lost with the machine, so
/// the guest's fsync need not cost anything.
pub fn overlay_node(name: &str, overlay: ChildFd, backing: Value) -> Value {
    json!({
        "driver": "qcow2",
        "node-name": name,
        "read-only": false,
        "discard": "unmap",
        "cache": { "no-flush": true },
        "backing": backing,
        "file": {
            "driver": "file",
            "filename": fd_set(overlay),
            "locking": "off",
            "discard": "unmap",
            "cache": { "no-flush": true },
        },
    })
}
