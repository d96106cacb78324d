//! Everything that makes a template valid. QEMU notices no change of the processor model, the
//! kernel or the initramfs when it restores a machine, so everything that such a machine was made of
//! is here, and another key is another template.

use std::fs;
use std::io;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::digest;
use crate::appliance::boot::{self, ApplianceConfig};
use crate::image::chain::Chain;
use crate::linux::file_id::FileStamp;
use crate::machine::plan::{Disk, Firmware, Plan};
use crate::session::Command;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// What sort of machine: `appliance`, `inspection` (an appliance with an image) or `image`.
    pub kind: String,
    /// This program's version.
    pub bivouac: String,
    /// This program, which is the appliance's init; it also made the initramfs.
    pub program: InputFile,
    pub qemu: InputFile,
    /// The firmware, where it is a file of its own.
    pub firmware: Option<InputFile>,
    /// The kernel, and the index of its modules, which changes with each of them.
    pub kernel: Vec<InputFile>,
    /// QEMU's arguments, each descriptor by what it is for instead of its number.
    pub arguments: Vec<String>,
    pub accelerator: String,
    pub memory_mib: u64,
    pub cpus: u32,
    /// The host's processor: vendor, family, model, stepping and microcode.
    pub processor: String,
    /// The host's kernel, as `uname -rv` prints it.
    pub host: String,
    /// Every layer of every image of the machine's, and which state of it.
    pub layers: Vec<InputFile>,
    /// How far its boot had come when it was saved.
    pub stage: Option<String>,
    /// What was done in it after that, first to last. Without the last, it is the key of the template
    /// that this one was made from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepKey>,
    /// A random number, if this is a machine that was saved while it ran: nobody knows what was done
    /// in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<String>,
}

/// A command that was run in a machine, and the files that were copied into it before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepKey {
    /// With its user, environment and directory.
    pub command: Command,
    pub copies: Vec<CopyKey>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyKey {
    /// The path in the guest, and the name that the copy may get there.
    pub target: String,
    pub name: String,
    /// See [`super::content::digest`].
    pub digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    pub path: PathBuf,
    pub identity: FileStamp,
}

impl InputFile {
    fn of(path: &Path) -> io::Result<Self> {
        Self::of_file(path, path)
    }

    fn of_file(path: &Path, opened_by: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: FileStamp::from(&fs::metadata(opened_by)?),
        })
    }
}

impl Key {
    /// The key of the appliance with `disks` disks. Reads no file but /proc/cpuinfo: a file is
    /// known by its number, size and times.
    pub fn of_appliance(config: &ApplianceConfig, disks: usize) -> io::Result<Self> {
        let config = &config.with_one_accelerator();
        let plan = boot::nominal_plan(config, disks);
        Ok(Self {
            kernel: kernel_of(config)?,
            ..Self::of_plan("appliance", &plan)?
        })
    }

    /// The key of the appliance that has looked at the image, and other disks, whose layers are `chains`.
    pub fn of_inspection(
        config: &ApplianceConfig,
        disks: Vec<Disk>,
        chains: &[Chain],
    ) -> io::Result<Self> {
        let config = &config.with_one_accelerator();
        let plan = Plan {
            disks,
            ..boot::nominal_plan(config, 0)
        };
        Ok(Self {
            kernel: kernel_of(config)?,
            layers: layers_of(chains)?,
            ..Self::of_plan("inspection", &plan.nominal())?
        })
    }

    /// The key of the machine of `plan`, which boots an image whose layers, and all others that
    /// it has, are `chains`, to `stage`.
    pub fn of_image(plan: &Plan, chains: &[Chain], stage: &str) -> io::Result<Self> {
        let plan = plan.nominal();
        let direct = plan.kernel.iter();
        let direct = direct.flat_map(|direct| direct.initrd.iter().chain([&direct.kernel]));
        let kernel = direct.map(|path| InputFile::of(path));
        Ok(Self {
            kernel: kernel.collect::<io::Result<_>>()?,
            layers: layers_of(chains)?,
            stage: Some(stage.to_owned()),
            ..Self::of_plan("image", &plan)?
        })
    }

    fn of_plan(kind: &str, plan: &Plan) -> io::Result<Self> {
        let own = Path::new("/proc/self/exe");
        let arguments = crate::machine::args::argv(plan);
        let words = arguments.iter().map(|word| word.to_string_lossy());
        let system = nix::sys::utsname::uname()?;
        let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
        Ok(Self {
            kind: kind.to_owned(),
            bivouac: env!("CARGO_PKG_VERSION").to_owned(),
            program: InputFile::of_file(&fs::read_link(own)?, own)?,
            qemu: InputFile::of(&plan.qemu)?,
            firmware: match &plan.firmware {
                Firmware::File(path) => Some(InputFile::of(path)?),
                Firmware::Bios | Firmware::Uefi { .. } => None,
            },
            kernel: Vec::new(),
            arguments: words.map(|word| word.into_owned()).collect(),
            // KVM is asked for only if it was seen to run a guest.
            accelerator: if plan.accelerator.may_be_kvm() {
                "kvm"
            } else {
                "tcg"
            }
            .to_owned(),
            memory_mib: plan.memory_mib,
            cpus: plan.cpus,
            processor: processor()?,
            host: format!("{} {}", text(system.release()), text(system.version())),
            layers: Vec::new(),
            stage: None,
            steps: Vec::new(),
            saved: None,
        })
    }

    /// The key of the template that this one was made from: by one more step, or by a machine that was
    /// saved while it ran.
    pub fn parent(&self) -> Option<Self> {
        if self.saved.is_some() {
            return Some(Self {
                saved: None,
                ..self.clone()
            });
        }
        let (_, before) = self.steps.split_last()?;
        Some(Self {
            steps: before.to_vec(),
            ..self.clone()
        })
    }

    /// In words, what of this key is not so in the other one.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let named = |file: &InputFile| file.path.display().to_string();
        let mut layers = self.layers.iter().zip(&other.layers);
        if let Some((layer, _)) = layers.find(|(own, other)| own != other) {
            return Some(named(layer));
        }
        let differences = [
            (
                self.layers.len() != other.layers.len(),
                "the image's layers",
            ),
            (self.qemu != other.qemu, "QEMU"),
            (
                self.bivouac != other.bivouac || self.program != other.program,
                "bivouac",
            ),
            (self.kernel != other.kernel, "--kernel or --initrd"),
            (self.firmware != other.firmware, "the firmware"),
            (self.accelerator != other.accelerator, "the accelerator"),
            (self.processor != other.processor, "the processor"),
            (self.host != other.host, "the host's kernel"),
            (self != other, "the machine"),
        ];
        let found = differences.iter().find(|(differs, _)| *differs);
        found.map(|(_, what)| (*what).to_owned())
    }

    /// The name of the template's directory. Two keys of one name are told apart by the manifest.
    pub fn name(&self) -> String {
        // Strings and numbers only: that never fails.
        digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

fn kernel_of(config: &ApplianceConfig) -> io::Result<Vec<InputFile>> {
    let kernel = &config.kernel;
    let index = kernel.modules.as_ref();
    let index = index.map(|modules| modules.join("modules.dep"));
    let files = [Some(kernel.image.clone()), index];
    files
        .iter()
        .flatten()
        .map(|file| InputFile::of(file))
        .collect()
}

fn layers_of(chains: &[Chain]) -> io::Result<Vec<InputFile>> {
    let layers = chains.iter().flat_map(Chain::layers);
    let files = layers.map(|layer| {
        Ok(InputFile {
            path: layer.path().to_owned(),
            identity: layer.stamp()?,
        })
    });
    files.collect()
}

/// The first processor, as /proc/cpuinfo has it.
fn processor() -> io::Result<String> {
    // One processor is enough, and the kernel generates each line when it is read.
    let mut text = vec![0; 4096];
    let read = fs::File::open("/proc/cpuinfo")?.read(&mut text)?;
    let text = String::from_utf8_lossy(&text[..read]);
    let wanted = [
        "vendor_id",
        "cpu family",
        "model",
        "model name",
        "stepping",
        "microcode",
    ];
    let mut found = Vec::new();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(':')
            && wanted.contains(&name.trim())
        {
            found.push(format!("{}={}", name.trim(), value.trim()));
        }
    }
    Ok(found.join(" "))
}
