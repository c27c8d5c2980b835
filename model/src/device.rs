//! Where a model runs.

use std::fmt;
use std::str::FromStr;

use candle_core::Device as CandleDevice;

use crate::ModelError;

/// The processor, or a graphics card.
///
/// ```
/// use pagesight_model::Device;
/// assert_eq!("cuda".parse(), Ok(Device::Cuda));
/// assert_eq!(Device::default().to_string(), "auto");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Device {
    /// A card where there is one that this program was built for, else the processor.
    #[default]
    Auto,
    /// The processor, with the kernels of this crate.
    Cpu,
    /// The first card of NVIDIA (feature `cuda`).
    Cuda,
    /// The first card of Apple (feature `metal`).
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

    /// The card, or `None` for the processor.
    ///
    /// # Errors
    /// [`ModelError::DeviceNotBuilt`] and [`ModelError::Device`] for a card asked for by name.
    pub(crate) fn card(self) -> Result<Option<CandleDevice>, ModelError> {
        let open = |device: Self| -> Result<CandleDevice, ModelError> {
            if !device.is_built_in() {
                return Err(ModelError::DeviceNotBuilt { device });
            }
            let card = match device {
                Self::Cuda => CandleDevice::new_cuda(0),
                _ => CandleDevice::new_metal(0),
            };
            card.map_err(|source| ModelError::Device { device, source: Box::new(source) })
        };
        match self {
            Self::Cpu => Ok(None),
            Self::Cuda | Self::Metal => open(self).map(Some),
            Self::Auto => Ok([Self::Cuda, Self::Metal].into_iter().find_map(|d| open(d).ok())),
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
