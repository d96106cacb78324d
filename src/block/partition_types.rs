//! What a partition is for by its type in a GPT (UAPI Group, Discoverable Partitions
//! Specification).

/// What a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionRole {
    Root,
    Usr,
    Home,
    Srv,
    Var,
    Tmp,
    /// What a boot loader reads besides the EFI system partition.
    Boot,
    /// The EFI system partition.
    Esp,
}

/// Types of root and /usr partitions, of each processor: x86-64, x86, arm64, arm, riscv64, riscv32,
/// ppc64 (little-endian), s390x, loongarch64.
#[rustfmt::skip]
const ROOT_AND_USR: [(&str, &str); 9] = [
    ("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "8484680c-9521-48c6-9c11-b0720656f69e"),
    ("44479540-f297-41b2-9af7-d131d5f0458a", "75250d76-8cc6-458e-bd66-bd47cc81a812"),
    ("b921b045-1df0-41c3-af44-4c6f280d3fae", "b0e01050-ee5f-4390-949a-9101b17104e9"),
    ("69dad710-2ce4-4e3c-b16c-21a1d49abed3", "7d0359a3-02b3-4f0a-865c-654403e70625"),
    ("72ec70a6-cf74-40e6-bd49-4bda08e8f224", "beaec34b-8442-439b-a40b-984381ed097d"),
    ("60d5a7fe-8e7d-435c-b714-3dd8162144e1", "b933fb22-5c3f-4f91-af90-e2bb0fa50702"),
    ("c31c45e6-3f39-412e-80fb-4809c4980599", "15bb03af-77e7-4d4a-b12b-c0d084f7491c"),
    ("5eead9a9-fe09-4a1e-a1d7-520d00531306", "8a4f5770-50aa-4ed3-874a-99b710db6fea"),
    ("77055800-792c-4f94-b39a-98c91b762bb6", "e611c702-575c-4cbe-9a46-434fa0bf7e3f"),
];

const OTHERS: [(&str, PartitionRole); 8] = [
    // Flatcar and the former CoreOS: coreos-usr and coreos-resize.
    ("5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6", PartitionRole::Usr),
    ("3884dd41-8582-4404-b9a8-e9b84f2df50e", PartitionRole::Root),
    ("933ac7e1-2eb4-4f13-b844-0e14e2aef915", PartitionRole::Home),
    ("3b8f8425-20e0-4f3b-907f-1a25a76f98e8", PartitionRole::Srv),
    ("4d21b016-b534-45c2-a9fb-5c16e091fd2d", PartitionRole::Var),
    ("7ec6f557-3bc5-4aca-b293-16ef5df639d1", PartitionRole::Tmp),
    ("bc13c2ff-59e6-4262-a352-b275fd6f7172", PartitionRole::Boot),
    ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", PartitionRole::Esp),
];

/// The role of a partition, by its type: a GUID in lower case.
pub fn role(kind: &str) -> Option<PartitionRole> {
    for (root, usr) in ROOT_AND_USR {
        if kind == root {
            return Some(PartitionRole::Root);
        }
        if kind == usr {
            return Some(PartitionRole::Usr);
        }
    }
    let found = OTHERS.iter().find(|(other, _)| *other == kind);
    found.map(|(_, role)| *role)
}

impl PartitionRole {
    /// Where a system mounts it that does not say so itself; `None` for a root. The places of boot
    /// partitions depend on each other.
    pub fn mount_point(self) -> Option<&'static str> {
        match self {
            Self::Usr => Some("/usr"),
            Self::Home => Some("/home"),
            Self::Srv => Some("/srv"),
            Self::Var => Some("/var"),
            Self::Tmp => Some("/var/tmp"),
            Self::Root | Self::Boot | Self::Esp => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_a_role_and_no_type_has_two() {
        let root = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
        assert_eq!(role(root), Some(PartitionRole::Root));
        assert_eq!(role("0fc63daf-8483-4772-8e79-3d69d8477de4"), None);
        assert_eq!(role("0x83"), None);
        let all = ROOT_AND_USR.iter().flat_map(|(root, usr)| [*root, *usr]);
        let all: Vec<_> = all.chain(OTHERS.map(|(kind, _)| kind)).collect();
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert!(
            all.iter()
                .all(|kind| kind.len() == 36 && *kind == kind.to_lowercase())
        );
    }
}
