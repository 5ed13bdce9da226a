//! Bytes of numbers, sums of their products and numbers of these, sixteen at a time: the inner loops of [`super::int8`].
//!
//! Sums are integers, so every unit finds the same; the arithmetic around them is the same step by step.

use std::mem::MaybeUninit;

use super::lanes::WIDTH;
use super::panel::DEPTH;
use super::quantise::Left;

/// Inputs whose products go into a sum at once.
pub(super) const GROUP: usize = 4;

/// Four inputs' part in the outputs of a panel: the four weights of an output beside each other.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct ByteLine(pub(super) [i8; GROUP * WIDTH]);

/// What makes numbers of a panel's sums.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Outputs {
    /// What one step of a weight is worth.
    pub(super) scales: [f32; WIDTH],
    /// Sums of the weights, which the zero point of a row is multiplied with.
    pub(super) sums: [i32; WIDTH],
}

/// What makes numbers of a row's sums.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowScale {
    /// What one step of a value is worth.
    pub(super) scale: f32,
    /// The byte that stands for 0.
    pub(super) zero: i32,
}

/// `1.5 * 2^23`: adding it rounds to an integer, which then lies in the low bits.
pub(super) const ROUND: f32 = 12_582_912.0;

/// The range of some numbers, stretched to hold 0.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) least: f32,
    pub(super) most: f32,
    /// Bits of the largest of them without its sign; what is no number has the largest.
    pub(super) largest: u32,
}

impl Range {
    /// Of every sixteenth number.
    fn of(least: [f32; WIDTH], most: [f32; WIDTH], largest: [u32; WIDTH]) -> Self {
        Self {
            least: least.into_iter().fold(0.0, |a, b| if b < a { b } else { a }),
            most: most.into_iter().fold(0.0, |a, b| if b > a { b } else { a }),
            largest: largest.into_iter().fold(0, u32::max),
        }
    }
}

/// Without their sign.
const MAGNITUDE: u32 = 0x7fff_ffff;

/// How values and weights are kept while they are multiplied.
pub(super) trait Form {
    /// A group of values.
    type Values: Copy;
    /// A line of weights.
    type Line: Copy;
    /// Whether rows are kept as [`Pairs`] too.
    const PAIRS: bool;

    /// The first `count` groups of a row.
    fn groups(left: Left<'_>, row: usize, count: usize) -> &[Self::Values];
    /// A panel's lines, in `room` where they change.
    fn lines<'a>(lines: &'a [ByteLine], room: &'a mut PanelRoom<Self::Line>) -> &'a [Self::Line];
}

/// Room for the lines of a panel.
pub(super) type PanelRoom<T> = [MaybeUninit<T>; DEPTH / GROUP];

/// As they are.
pub(super) struct AsBytes;

impl Form for AsBytes {
    type Values = [u8; GROUP];
    type Line = ByteLine;
    const PAIRS: bool = false;

    #[inline(always)]
    fn groups(left: Left<'_>, row: usize, count: usize) -> &[[u8; GROUP]] {
        &left.values[row * left.stride..].as_chunks::<GROUP>().0[..count]
    }

    #[inline(always)]
    fn lines<'a>(lines: &'a [ByteLine], _: &'a mut PanelRoom<ByteLine>) -> &'a [ByteLine] {
        lines
    }
}

/// A group of values in sixteen bits each: the first and the third, the second and the fourth.
pub(super) type Pairs = [u32; 2];

/// Sixteen sums.
pub(super) trait Sums: Copy {
    /// The range of `x`.
    fn range(x: &[[f32; WIDTH]]) -> Range;
    /// `x * steps + onto - ROUND`, between 0 and 255, where `onto` is [`ROUND`] and some more.
    fn bytes(x: &[f32; WIDTH], steps: f32, onto: f32, to: &mut [u8; WIDTH]);
    /// What it multiplies.
    type Form: Form;
    /// A line of weights in registers.
    type Weights: Copy;

    fn zero() -> Self;
    fn weights(line: &<Self::Form as Form>::Line) -> Self::Weights;
    /// Adds the products of four values with the weights of every output.
    fn add_products(self, values: &<Self::Form as Form>::Values, weights: Self::Weights) -> Self;
    /// `start + (sum - zero * sums) * (scale * scales)`, each step rounded.
    fn finish(self, row: RowScale, outputs: &Outputs, onto: &mut [f32; WIDTH]);
}

/// Without vector instructions of its own.
#[derive(Clone, Copy)]
pub(super) struct Plain([i32; WIDTH]);

impl Sums for Plain {
    type Form = AsBytes;
    type Weights = ByteLine;

    #[inline(always)]
    fn range(x: &[[f32; WIDTH]]) -> Range {
        let (mut least, mut most, mut largest) = ([0.0; WIDTH], [0.0; WIDTH], [0; WIDTH]);
        for x in x {
            for i in 0..WIDTH {
                least[i] = if x[i] < least[i] { x[i] } else { least[i] };
                most[i] = if x[i] > most[i] { x[i] } else { most[i] };
                largest[i] = largest[i].max(x[i].to_bits() & MAGNITUDE);
            }
        }
        Range::of(least, most, largest)
    }

    #[inline(always)]
    fn bytes(x: &[f32; WIDTH], steps: f32, onto: f32, to: &mut [u8; WIDTH]) {
        for (to, x) in to.iter_mut().zip(x) {
            let step = (x * steps + onto).to_bits() as i32 - ROUND.to_bits() as i32;
            *to = step.clamp(0, 255) as u8;
        }
    }

    #[inline(always)]
    fn zero() -> Self {
        Self([0; WIDTH])
    }

    #[inline(always)]
    fn weights(line: &ByteLine) -> ByteLine {
        *line
    }

    #[inline(always)]
    fn add_products(mut self, values: &[u8; GROUP], weights: ByteLine) -> Self {
        for (sum, weights) in self.0.iter_mut().zip(weights.0.as_chunks::<GROUP>().0) {
            for (value, weight) in values.iter().zip(weights) {
                *sum += i32::from(*value) * i32::from(*weight);
            }
        }
        self
    }

    #[inline(always)]
    fn finish(self, row: RowScale, outputs: &Outputs, onto: &mut [f32; WIDTH]) {
        for (i, onto) in onto.iter_mut().enumerate() {
            let sum = self.0[i] - row.zero * outputs.sums[i];
            *onto += sum as f32 * (row.scale * outputs.scales[i]);
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub(super) use aarch64::{DotProd, Neon};
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, AvxVnni, Vnni};

/// Defines `fn $name(arguments)` that calls `$body` with the [`Sums`] of the processor, and the rows and panels of its
/// tiles, whose sums fit the registers.
macro_rules! dispatch_bytes {
    (fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $body:ident) => {
        #[allow(unsafe_code)]
        fn $name($($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                use super::vector::VectorUnit;

                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
                fn wide($($arg: $type),*) {
                    $body::<super::bytes::Vnni, 12, 2>($($arg),*);
                }
                #[target_feature(enable = "avx2,fma,avxvnni")]
                fn dotted($($arg: $type),*) {
                    $body::<super::bytes::AvxVnni, 6, 1>($($arg),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn vectorised($($arg: $type),*) {
                    $body::<super::bytes::Avx2, 4, 1>($($arg),*);
                }
                match VectorUnit::current() {
                    // SAFETY: the processor has AVX-512 with VNNI.
                    VectorUnit::Vnni => return unsafe { wide($($arg),*) },
                    // SAFETY: the processor has AVX2, FMA and AVX-VNNI.
                    VectorUnit::AvxVnni => return unsafe { dotted($($arg),*) },
                    // SAFETY: the processor has AVX2 and FMA.
                    VectorUnit::Avx2 | VectorUnit::Avx512 => return unsafe { vectorised($($arg),*) },
                    VectorUnit::None | VectorUnit::Neon | VectorUnit::DotProd => {}
                }
            }
            #[cfg(target_arch = "aarch64")]
            {
                use super::vector::VectorUnit;

                #[target_feature(enable = "neon,dotprod")]
                fn dotted($($arg: $type),*) {
                    $body::<super::bytes::DotProd, 5, 1>($($arg),*);
                }
                match VectorUnit::current() {
                    // SAFETY: the processor has products of bytes.
                    VectorUnit::DotProd => return unsafe { dotted($($arg),*) },
                    VectorUnit::Neon => return $body::<super::bytes::Neon, 2, 1>($($arg),*),
                    _ => {}
                }
            }
            $body::<super::bytes::Plain, 4, 1>($($arg),*);
        }
    };
}
pub(super) use dispatch_bytes;
