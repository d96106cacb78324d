//! Files in a machine that is held.

use std::fs;

use serde_json::{Value, json};

use super::{Client, small};

#[test]
fn files_are_written_read_listed_and_copied_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let host = |name: &str| dir.path().join(name).display().to_string();
    let mut client = Client::start(small(&[]));
    let content = json!({"path": "/new/dir/a", "content": {"base64": "/wBh"},
                         "mode": 0o640, "uid": 7, "gid": 8});
    assert_eq!(client.call("put", content)["files"], 1);
    let stat = client.call("stat", json!({"path": "/new/dir/a"}));
    assert_eq!(stat["type"], "file");
    assert_eq!(
        [&stat["mode"], &stat["uid"], &stat["gid"], &stat["size"]],
        [0o640, 7, 8, 3]
    );
    let read = client.call("read", json!({"path": "/new/dir/a"}));
    assert_eq!(
        read,
        json!({"data": {"base64": "/wBh"}, "next": 3, "eof": true})
    );
    let read = client.call(
        "read",
        json!({"path": "/new/dir/a", "offset": 2, "limit": 1}),
    );
    assert_eq!(read, json!({"data": "a", "next": 3, "eof": true}));
    let read = client.call("read", json!({"path": "/new/dir/a", "limit": 1}));
    assert_eq!((&read["next"], &read["eof"]), (&json!(1), &json!(false)));
    client.tell("m1", "ln -s a /new/dir/l");
    let link = client.call("stat", json!({"path": "/new/dir/l", "follow": false}));
    assert_eq!(
        (&link["type"], &link["link"]),
        (&json!("link"), &json!("a"))
    );
    assert_eq!(
        client.call("stat", json!({"path": "/new/dir/l"}))["type"],
        "file"
    );
    let names = |list: &Value| {
        let entries = list["entries"].as_array().unwrap().iter();
        let mut names: Vec<_> = entries.map(|entry| entry["name"].clone()).collect();
        names.sort_by_key(Value::to_string);
        Value::from(names)
    };
    let list = client.call("list", json!({"path": "/new/dir"}));
    assert_eq!(
        (names(&list), &list["truncated"]),
        (json!(["a", "l"]), &json!(false))
    );
    let list = client.call("list", json!({"path": "/new", "recursive": true}));
    assert_eq!(names(&list), json!(["", "dir", "dir/a", "dir/l"]));
    let list = client.call(
        "list",
        json!({"path": "/new", "recursive": true, "limit": 2}),
    );
    assert_eq!(
        (names(&list), &list["truncated"]),
        (json!(["", "dir"]), &json!(true))
    );
    // Out, and in again under another name and into a directory.
    let get = json!({"path": "/new/dir", "target": host("copy")});
    assert_eq!(client.call("get", get)["files"], 3);
    assert_eq!(fs::read(host("copy/a")).unwrap(), b"\xff\0a");
    for path in ["/other", "/new/"] {
        client.call("put", json!({"path": path, "source": host("copy")}));
    }
    assert_eq!(
        client.tell("m1", "cmp /other/a /new/copy/l && echo same"),
        "same\n"
    );
    let missing = client.refused("read", json!({"path": "/missing"}));
    assert_eq!(
        missing["data"],
        json!({"kind": "refused", "errno": "ENOENT"})
    );
    let nowhere = client.refused("get", json!({"path": "/new", "target": host("no/where/x")}));
    assert_eq!(nowhere["data"]["kind"], "failed");
    assert!(
        nowhere["data"]["hint"]
            .as_str()
            .unwrap()
            .starts_with("mkdir -p"),
        "{nowhere}"
    );
    let both = json!({"path": "/x", "content": "", "source": host("copy")});
    assert_eq!(client.refused("put", both)["code"], -32602);
    assert_eq!(client.end().code(), Some(0));
}
