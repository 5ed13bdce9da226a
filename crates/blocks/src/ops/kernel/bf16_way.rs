//! How products of numbers of two bytes are computed here: with the processor's instruction, or by way of f32.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::{DEPTH, Left, Out, PANEL, PairLine, Right, Start, multiply_natively, multiply_widely, pairs};
use crate::ops::kernel::vector::VectorUnit;

/// Which of two ways that give equal bytes is taken. There are processors on which the instruction takes more time than the
/// two multiplications that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// AVX-512 BF16.
    Native,
    /// Weights become f32 where they are multiplied.
    #[default]
    Wide,
}

fn has_instruction() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

impl Way {
    /// Whether the processor has it, and may use it with `unit`.
    pub fn available(self, unit: VectorUnit) -> bool {
        self == Self::Wide || (unit >= VectorUnit::Vnni && has_instruction())
    }

    /// What products use: the one that was faster on this processor, measured once a process, when the first product is
    /// asked for.
    pub fn current() -> Self {
        static MEASURED: OnceLock<Way> = OnceLock::new();
        #[cfg(test)]
        if let Some(forced) = FORCED.get() {
            return forced;
        }
        if !Self::Native.available(VectorUnit::current()) {
            return Self::Wide;
        }
        *MEASURED.get_or_init(Self::measured)
    }

    /// From now on products use it on this thread.
    #[cfg(test)]
    pub(crate) fn force(self) {
        FORCED.set(Some(self));
    }

    fn measured() -> Self {
        const ROWS: usize = 96;
        const PANELS: usize = 8;
        const ROUNDS: usize = 5;
        let (narrow, wide) = (vec![0x3f00; ROWS * DEPTH], vec![0.5; ROWS * DEPTH]);
        let lines = vec![PairLine([0x3e80_3e80; PANEL]); PANELS * pairs(DEPTH)];
        let mut y = vec![0.0; ROWS * PANELS * PANEL];
        let (stride, count) = (DEPTH, ROWS);
        let right = Right { lines: &lines, depth: pairs(DEPTH) };
        let mut time = |multiply: &dyn Fn(Out)| {
            let start = Instant::now();
            multiply(Out { values: &mut y, stride: PANELS * PANEL, width: PANELS * PANEL });
            start.elapsed()
        };
        let natively = |out: Out| multiply_natively(Left { values: &narrow, stride, count }, right, Start::Zero, out);
        let widely = |out: Out| multiply_widely(Left { values: &wide, stride, count }, right, Start::Zero, out);
        let (mut native, mut wide) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            (native, wide) = (native.min(time(&natively)), wide.min(time(&widely)));
        }
        if native < wide { Self::Native } else { Self::Wide }
    }
}

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<Way>> = const { std::cell::Cell::new(None) };
}
