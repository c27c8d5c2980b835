//! Where a model runs.

use std::fmt;
use std::str::FromStr;

/// The CPU, or a GPU.
///
/// ```
/// use pagesight_model::Device;
/// assert_eq!("cuda".parse(), Ok(Device::Cuda));
/// assert_eq!(Device::default().to_string(), "auto");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Device {
    /// A GPU where there is one that this program was built for, else the CPU.
    #[default]
    Auto,
    /// The CPU, with the kernels of this crate.
    Cpu,
    /// The first GPU of NVIDIA (feature `cuda`).
    Cuda,
    /// The first GPU of Apple (feature `metal`).
    Metal,
}

impl Device {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Cpu, Self::Cuda, Self::Metal];

    /// Whether this program was built for it.
    pub const fn is_built_in(self) -> bool {
        match self {
            Self::Auto | Self::Cpu => true,
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Metal => cfg!(feature = "metal"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no device has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no device: expected auto, cpu, cuda or metal")]
pub struct UnknownDevice(String);

impl FromStr for Device {
    type Err = UnknownDevice;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|device| device.name() == name);
        found.ok_or_else(|| UnknownDevice(name.into()))
    }
}
