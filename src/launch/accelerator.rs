//! Which accelerator to ask QEMU for.

use super::facts::AcceleratorFacts;
use super::failure::Failure;
use crate::host::kvm::{self, Kvm};
use crate::machine::plan::Accelerator;

/// KVM only if it was seen to run a guest. Records in `facts` what was asked for and found.
pub(crate) fn choose(
    asked: Accelerator,
    facts: &mut AcceleratorFacts,
) -> Result<Accelerator, Failure> {
    facts.asked = asked.as_str();
    if asked == Accelerator::Tcg {
        return Ok(asked);
    }
    let kvm = kvm::check();
    facts.kvm = Some(kvm.as_str());
    match (kvm, asked) {
        (Kvm::Works { .. }, _) => Ok(asked),
        (kvm, Accelerator::Kvm) => Err(Failure {
            hint: kvm.hint(),
            ..anyhow::anyhow!("{kvm}, but --accel kvm requires it").into()
        }),
        (kvm, _) => {
            tracing::warn!("{kvm}; the guest is emulated (TCG), which is slower");
            Ok(Accelerator::Tcg)
        }
    }
}
