//! Which vector instructions the kernels use: the best that the processor has, or fewer where somebody says so.

use std::sync::OnceLock;

/// Names one of [`VectorUnit`]'s, as [`VectorUnit::name`] does; those above it are then left alone. For tests, and for
/// comparing times.
pub const VECTOR_UNIT: &str = "SPOTTER_VECTOR_UNIT";

/// Vector instructions; each has those before it. From [`VectorUnit::Avx2`] on, products come out in the same bytes:
/// their sums are taken in the same order, and each step is rounded once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum VectorUnit {
    /// None by name: what the compiler makes of loops.
    None,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// And its products of bytes.
    Vnni,
}

impl VectorUnit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Avx2, Self::Avx512, Self::Vnni];

    /// As [`VECTOR_UNIT`] names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Vnni => "vnni",
        }
    }

    /// The best that the processor has.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            match (avx2, avx512, is_x86_feature_detected!("avx512vnni")) {
                (true, true, true) => Self::Vnni,
                (true, true, false) => Self::Avx512,
                (true, false, _) => Self::Avx2,
                (false, ..) => Self::None,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::None
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
            let known = Self::ALL.into_iter().find(|unit| unit.name() == wanted);
            if known.is_none() {
                let names = Self::ALL.map(Self::name).join(", ");
                tracing::warn!("{VECTOR_UNIT}={wanted} is none of {names}: the processor's best is used");
            }
            known.unwrap_or(Self::Vnni).min(Self::best())
        })
    }
}

#[cfg(test)]
thread_local! {
    /// Used on this thread instead.
    pub(super) static FORCED: std::cell::Cell<Option<VectorUnit>> = const { std::cell::Cell::new(None) };
}
