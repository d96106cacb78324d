//! Which accelerator to ask QEMU for.

use super::Failure;
use crate::host::kvm::{self, Kvm};
use crate::machine::plan::Accelerator;

/// What was chosen, and why.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// What QEMU is asked for.
    pub accelerator: Accelerator,
    /// What the KVM check found, in a word, where it was made.
    pub kvm: Option<&'static str>,
}

/// The value of `--accel`: accelerators in the order to try.
pub fn parse_accel(text: &str) -> Result<Accelerator, String> {
    match text {
        "kvm:tcg" => Ok(Accelerator::KvmThenTcg),
        "kvm" => Ok(Accelerator::Kvm),
        "tcg" => Ok(Accelerator::Tcg),
        _ => Err("not one of kvm:tcg, kvm, tcg".into()),
    }
}

/// KVM only where it was seen to run a guest.
///
/// # Errors
/// KVM was asked for alone, and does not work here.
pub fn choose(asked: Accelerator) -> Result<Choice, Failure> {
    if asked == Accelerator::Tcg {
        return Ok(Choice {
            accelerator: asked,
            kvm: None,
        });
    }
    let kvm = kvm::check();
    let word = Some(kvm.word());
    match (kvm, asked) {
        (Kvm::Works { .. }, _) => Ok(Choice {
            accelerator: asked,
            kvm: word,
        }),
        (kvm, Accelerator::Kvm) => Err(Failure {
            mend: kvm.mend(),
            ..anyhow::anyhow!("{kvm}, and --accel kvm allows nothing else").into()
        }),
        (kvm, _) => {
            tracing::warn!("{kvm}; the guest is emulated (TCG), which is slower");
            Ok(Choice {
                accelerator: Accelerator::Tcg,
                kvm: word,
            })
        }
    }
}
