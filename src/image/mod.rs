//! (image)
/// Format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format { /// raw
Raw, /// qcow2
Qcow2, /// vmdk
Vmdk, /// qed
Qed }
impl Format { /// name
pub fn as_str(self) -> &'static str { match self { Self::Raw => "raw", Self::Qcow2 => "qcow2", Self::Vmdk => "vmdk", Self::Qed => "qed" } } }
