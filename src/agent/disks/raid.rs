//! MD arrays: members by their superblocks (<linux/raid/md_p.h>), assembled by the kernel.

use std::fs::{self, File};
use std::os::fd::AsFd;

use super::blocks::{Blocks, Fields};
use super::modules::Modules;
use super::sysfs::Node;
use super::text::lossy;
use crate::sys::assemble_array;

const MAGIC: u32 = 0xa92b_4efc;

/// What a member's superblock says of its array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Of the array.
    pub id: Vec<u8>,
    /// Major and minor; the minor says where a superblock of version 1 lies.
    pub version: (i32, i32),
    /// Its name, without the host's; fit for a file's name.
    pub name: String,
    /// The RAID level; -1 is linear.
    pub level: i32,
}

/// An array and those of its members that are here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// Its name.
    pub name: String,
    /// Its level.
    pub level: i32,
    version: (i32, i32),
    id: Vec<u8>,
    /// `MAJOR:MINOR` of each.
    members: Vec<String>,
}

/// The superblock of a member.
pub fn member(device: &(impl Blocks + ?Sized)) -> Option<Member> {
    let size = device.size();
    let places = [
        Some((1, 0)),
        Some((2, 4096)),
        size.checked_sub(8192).map(|at| (0, at & !4095)),
    ];
    for (minor, at) in places.into_iter().flatten() {
        let block = &device.some(at, 256)[..];
        if block.u32(0) == MAGIC && block.u32(4) == 1 {
            let name = lossy(block.part(32, 32));
            return Some(Member {
                id: block.part(16, 16).to_vec(),
                version: (1, minor),
                name: safe(name.rsplit(':').next().unwrap_or_default()),
                level: block.u32(72).cast_signed(),
            });
        }
    }
    let at = (size & !0xffff).checked_sub(0x1_0000)?;
    let block = &device.some(at, 256)[..];
    (block.u32(0) == MAGIC && block.u32(4) == 0).then(|| Member {
        id: [block.part(20, 4), block.part(52, 12)].concat(),
        version: (0, 90),
        name: (block.u32(44) & 0xff).to_string(),
        level: block.u32(28).cast_signed(),
    })
}

fn safe(name: &str) -> String {
    let allowed = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c));
    let name: String = allowed.collect();
    if name.is_empty() { "0".into() } else { name }
}

/// The arrays that these nodes are members of.
pub fn group(nodes: &[Node]) -> Vec<Array> {
    let mut arrays: Vec<Array> = Vec::new();
    for node in nodes {
        let found = node.open().ok().and_then(|device| member(&device));
        let Some(found) = found else { continue };
        let same = |array: &&mut Array| array.id == found.id;
        match arrays.iter_mut().find(same) {
            Some(array) => array.members.push(node.number.clone()),
            None => arrays.push(Array {
                name: found.name,
                level: found.level,
                version: found.version,
                id: found.id,
                members: vec![node.number.clone()],
            }),
        }
    }
    arrays
}

/// Has the kernel assemble an array, without some of its members where it can do without.
/// Gives the kernel's name of it.
///
/// # Errors
/// A sentence.
pub fn assemble(array: &Array, modules: &mut Modules) -> Result<String, String> {
    let group = match array.level {
        0 | -1 => "raid0",
        1 | 10 => "raid1",
        4..=6 => "raid456",
        level => return Err(format!("arrays of level {level} are not supported")),
    };
    modules
        .load(group)
        .map_err(|error| format!("loading the module of its level: {error}"))?;
    let name = free_name(array);
    // An array must be made before its node can be opened (md.c, add_named_array).
    let made = fs::write("/sys/module/md_mod/parameters/new_array", &name)
        .and_then(|()| {
            let node = format!("/dev/{name}");
            File::options().read(true).write(true).open(node)
        })
        .map_err(|error| format!("the kernel makes no array {name}: {error}"))?;
    let members = array.members.iter().filter_map(|number| {
        let (major, minor) = number.split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    assemble_array(made.as_fd(), array.version, &members.collect::<Vec<_>>())
        .map_err(|error| format!("the kernel does not assemble it: {error}"))?;
    Ok(name)
}

/// `md0` for an array of the name 0, else what mdadm takes: from `md127` down.
fn free_name(array: &Array) -> String {
    let own = array.name.parse::<u8>().ok();
    let numbers = own.into_iter().chain((0..=127).rev());
    let mut names = numbers.map(|number| format!("md{number}"));
    let free = |name: &String| !std::path::Path::new("/sys/block").join(name).exists();
    names.find(free).unwrap_or_else(|| "md127".into())
}
