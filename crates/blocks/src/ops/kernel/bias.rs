//! What a Linear adds to its products, in panels, whatever its weights are multiplied in.

use super::panel::{Line, Start};
use super::store::{Part, Store};

/// A bias `[output]`, or none.
#[derive(Debug, Default)]
pub(super) struct Bias(Store<Line>);

impl Bias {
    pub(super) fn new(bias: Option<&[f32]>) -> Self {
        let mut own = Self::default();
        own.refill(bias);
        own
    }

    /// Another one in the same memory.
    pub(super) fn refill(&mut self, bias: Option<&[f32]>) {
        let mut lines = std::mem::take(&mut self.0).into_room();
        lines.clear();
        lines.extend(Line::each(bias.unwrap_or_default(), 0.0));
        self.0 = lines.into();
    }

    /// What [`Bias::bytes`] gave, in a mapped file, of so many panels; none where it cannot be that.
    pub(super) fn mapped(part: Option<Part>, panels: usize) -> Option<Self> {
        part.map_or_else(|| Some(Self::default()), |part| Store::of(part, panels).map(Self))
    }

    /// As files hold it.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// For products that begin with it.
    pub(super) fn start(&self) -> Start<'_> {
        if self.0.is_empty() { Start::Zero } else { Start::Row(&self.0) }
    }

    /// For products that are added, with it, to what lies in the result.
    pub(super) fn onto(&self) -> Start<'_> {
        if self.0.is_empty() { Start::Stored } else { Start::StoredAndRow(&self.0) }
    }
}
