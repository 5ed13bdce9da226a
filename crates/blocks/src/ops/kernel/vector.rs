//! Which vector instructions the kernels use: the best that the processor has, or fewer where somebody says so.

use std::sync::OnceLock;

/// Names one of [`VectorUnit::ALL`], as [`VectorUnit::name`] does; those above it are then left alone. For tests, and for
/// comparing times.
pub const VECTOR_UNIT: &str = "SPOTTER_VECTOR_UNIT";

/// Vector instructions of x86-64 and of aarch64; each has what the kernels use of those before it on its processor. In
/// every unit but [`VectorUnit::None`], products come out in the same bytes: their sums are taken in the same order, and
/// each step is rounded once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum VectorUnit {
    /// None by name: what the compiler makes of loops.
    None,
    /// AVX2 and FMA.
    Avx2,
    /// And its products of bytes.
    AvxVnni,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// And its products of bytes.
    Vnni,
    /// What every aarch64 has.
    Neon,
    /// And products of bytes.
    DotProd,
}

impl VectorUnit {
    /// All that processors of this architecture may have, the best last.
    #[cfg(target_arch = "x86_64")]
    pub const ALL: [Self; 5] = [Self::None, Self::Avx2, Self::AvxVnni, Self::Avx512, Self::Vnni];
    /// All that processors of this architecture may have, the best last.
    #[cfg(target_arch = "aarch64")]
    pub const ALL: [Self; 3] = [Self::None, Self::Neon, Self::DotProd];
    /// All that processors of this architecture may have, the best last.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub const ALL: [Self; 1] = [Self::None];

    /// As [`VECTOR_UNIT`] names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
            Self::Vnni => "vnni",
            Self::Neon => "neon",
            Self::DotProd => "dotprod",
        }
    }

    /// Whether the processor has it.
    pub fn available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            match self {
                Self::None => true,
                Self::Avx2 => avx2,
                Self::AvxVnni => avx2 && is_x86_feature_detected!("avxvnni"),
                Self::Avx512 => avx512,
                Self::Vnni => avx512 && is_x86_feature_detected!("avx512vnni"),
                Self::Neon | Self::DotProd => false,
            }
        }
        #[cfg(target_arch = "aarch64")]
        match self {
            Self::None | Self::Neon => true,
            Self::DotProd => std::arch::is_aarch64_feature_detected!("dotprod"),
            Self::Avx2 | Self::AvxVnni | Self::Avx512 | Self::Vnni => false,
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            self == Self::None
        }
    }

    /// The best that the processor has.
    pub fn best() -> Self {
        Self::ALL.into_iter().rfind(|unit| unit.available()).unwrap_or(Self::None)
    }

    /// What kernels use: never more than the processor has.
    pub fn current() -> Self {
        static CURRENT: OnceLock<VectorUnit> = OnceLock::new();
        #[cfg(test)]
        if let Some(forced) = FORCED.get() {
            return forced;
        }
        *CURRENT.get_or_init(|| {
            let Ok(wanted) = std::env::var(VECTOR_UNIT) else { return Self::best() };
            let Some(known) = Self::ALL.into_iter().find(|unit| unit.name() == wanted) else {
                let names = Self::ALL.map(Self::name).join(", ");
                tracing::warn!("{VECTOR_UNIT}={wanted} is none of {names}: the processor's best is used");
                return Self::best();
            };
            Self::ALL.into_iter().rfind(|unit| *unit <= known && unit.available()).unwrap_or(Self::None)
        })
    }

    /// From now on kernels use it on this thread.
    #[cfg(test)]
    pub(super) fn force(self) {
        FORCED.set(Some(self));
    }
}

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<VectorUnit>> = const { std::cell::Cell::new(None) };
}
