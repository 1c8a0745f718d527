//! How a CPU multiplies tiles: which instructions it has, and which of them are fastest.

use std::sync::LazyLock;

use super::integers::LINES;
use super::{CACHED, DEPTH, FEW_ROWS, LINE, ROWS, TILE_ROWS, VNNI_ROWS};

/// How a tile is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In tile registers (AMX-BF16).
    Tiles,
    /// Pair by pair (AVX512-BF16).
    Pairs,
    /// As integers that share scales, pair by pair (AVX512-VNNI).
    Integers512,
    /// Widened to f32 in registers (AVX-512).
    Widened512,
    /// As integers that share scales, multiplied and added in one instruction (AVX2, FMA and AVX-VNNI).
    IntegersVnni,
    /// As integers that share scales (AVX2 and FMA).
    Integers,
    /// Without intrinsics.
    Portable,
}

impl Way {
    /// Every way of this CPU, the fastest first.
    pub(super) fn all() -> &'static [Self] {
        static WAYS: LazyLock<Vec<Way>> = LazyLock::new(|| {
            let mut ways = if made_by_intel() {
                vec![Way::Tiles, Way::Integers512, Way::Widened512, Way::IntegersVnni, Way::Integers, Way::Pairs, Way::Portable]
            } else {
                vec![Way::Tiles, Way::Pairs, Way::Integers512, Way::IntegersVnni, Way::Integers, Way::Widened512, Way::Portable]
            };
            ways.retain(|way| way.is_usable());
            ways
        });
        &WAYS
    }

    /// Can this CPU, and does the system let this process?
    pub(super) fn is_usable(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            match self {
                Self::Tiles => Self::Pairs.is_usable() && has_tiles(),
                Self::Pairs => Self::Widened512.is_usable() && std::arch::is_x86_feature_detected!("avx512bf16"),
                Self::Widened512 => std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512bw"),
                Self::Integers512 => Self::Widened512.is_usable() && std::arch::is_x86_feature_detected!("avx512vnni"),
                Self::IntegersVnni => Self::Integers.is_usable() && std::arch::is_x86_feature_detected!("avxvnni"),
                Self::Integers => std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma"),
                Self::Portable => true,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Portable
        }
    }

    /// The fastest of this CPU.
    pub(super) fn fastest() -> Self {
        Self::all()[0]
    }

    /// The fastest of those that do not round rows to bf16.
    pub(super) fn fastest_of_fine_rows() -> Self {
        Self::all().iter().copied().find(|way| *way != Self::Pairs).unwrap_or(Self::Portable)
    }

    /// Most rows of a strip.
    pub(super) fn rows(self) -> usize {
        match self {
            Self::Tiles => TILE_ROWS,
            Self::Pairs | Self::Integers512 | Self::Widened512 | Self::Portable => ROWS,
            Self::IntegersVnni => VNNI_ROWS,
            Self::Integers => FEW_ROWS,
        }
    }

    /// Length of the runs in which so many strips meet `along` lines along k. Tile registers take the sums of one run up again for the next,
    /// so that any length gives the same; elsewhere runs are summed apart, and their length must not depend on the number of rows.
    pub(super) fn depth(self, strips: usize, along: usize) -> usize {
        let most = if self == Self::Tiles { (CACHED / strips.max(1)).max(8) } else { DEPTH };
        along.div_ceil(along.div_ceil(most).max(1)).max(1).next_multiple_of(self.unit())
    }

    /// Are numbers integers that share scales?
    pub(super) fn shares_scales(self) -> bool {
        matches!(self, Self::Integers512 | Self::IntegersVnni | Self::Integers)
    }

    /// Are tiles computed in halves of their columns?
    pub(super) fn is_halved(self) -> bool {
        matches!(self, Self::IntegersVnni | Self::Integers)
    }

    /// Lines along k that cannot be parted.
    pub(super) fn unit(self) -> usize {
        if self.shares_scales() { LINES } else { 1 }
    }

    /// Lines along k, padded with zeros.
    pub(super) fn lines_of(self, k: usize) -> usize {
        k.div_ceil(LINE).next_multiple_of(self.unit())
    }
}

/// Can this CPU multiply in tile registers (AMX-BF16), and does the system let this process do so?
#[cfg(target_arch = "x86_64")]
fn has_tiles() -> bool {
    #[cfg(all(target_pointer_width = "64", target_os = "linux"))]
    {
        super::amx::is_usable()
    }
    #[cfg(not(all(target_pointer_width = "64", target_os = "linux")))]
    {
        false
    }
}

fn made_by_intel() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let vendor = std::arch::x86_64::__cpuid(0);
        [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}
