//! How products of numbers of two bytes are computed here: with the processor's instruction, or by way of f32.

use std::sync::atomic::{AtomicU8, Ordering};
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

/// 0 until it is known, then 1 or 2.
static WAY: AtomicU8 = AtomicU8::new(0);

/// Whether the processor has the instruction, and may use it.
pub(super) fn has_instruction() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        VectorUnit::current() >= VectorUnit::Vnni && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

impl Way {
    /// What products use: the one that was faster on this processor, measured when the first product is asked for.
    pub fn current() -> Self {
        if !has_instruction() {
            return Self::Wide;
        }
        match WAY.load(Ordering::Relaxed) {
            1 => Self::Native,
            2 => Self::Wide,
            _ => {
                let way = Self::measured();
                way.set();
                way
            }
        }
    }

    /// From now on it is this one, in the whole process, where the processor has it.
    pub fn set(self) {
        WAY.store(if self == Self::Native { 1 } else { 2 }, Ordering::Relaxed);
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
