//! A query compiled for one model: everything that depends on the text alone, so that no frame touches text weights.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Tensor, TensorId};

use crate::config::Config;
use crate::fusion::compiled::CompiledText;
use crate::qdatt::Gates;
use blocks::error::Result;
use blocks::text::query_file::{self, QueryFile};

/// What a sentence becomes for one model: the generated gate matrices, the projected tokens of the real pieces and
/// their q, k, v in the first fusion layer. Independent of the canvas; under 1.3 MB for the full model.
#[derive(Debug, Clone)]
pub struct CompiledQuery {
    text: String,
    ids: Vec<u32>,
    model: String,
    pub(crate) gates: Vec<Gates>,
    /// `[n, d]`.
    pub(crate) tokens: Tensor,
    /// `[n, 3d]`.
    pub(crate) qkv: Tensor,
}

const GATE_PARTS: [&str; 3] = ["fc1", "fc2", "spatial"];

impl CompiledQuery {
    pub(crate) fn new(
        text: String,
        ids: Vec<u32>,
        model: String,
        gates: Vec<Gates>,
        tokens: Tensor,
        qkv: Tensor,
    ) -> Self {
        Self { text, ids, model, gates, tokens, qkv }
    }

    /// The sentence.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its piece ids, framing included, without padding.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Digest of the model that it was compiled for.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Writes `query.safetensors`, in full or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut tensors = vec![("tokens".into(), self.tokens.clone()), ("qkv".into(), self.qkv.clone())];
        for (i, gates) in self.gates.iter().enumerate() {
            let named = GATE_PARTS.iter().zip(gates.tensors());
            tensors.extend(named.map(|(part, tensor)| (format!("gates.{i}.{part}"), tensor.clone())));
        }
        query_file::save(path, (&self.text, &self.ids, &self.model), tensors)
    }

    /// Reads a query that was compiled for the model with digest `model`.
    ///
    /// # Errors
    /// The file is no compiled query, belongs to another model, or holds tensors of other sizes.
    pub fn load(path: &Path, config: &Config, model: &str, device: &Device) -> Result<Self> {
        let file = QueryFile::open_for(path, model)?;
        let get = |name: &str, shape: &[usize]| file.tensor(name, shape, device);
        let ids = file.ids(config.max_query_len)?;
        let (count, d) = (ids.len(), config.vl.hidden_dim);
        let backbone = config.gated_stages().map(|stage| config.stage_channels(stage));
        let neck = (2..config.neck_levels().len()).map(|_| config.neck.out_channels);
        let gates = backbone
            .chain(neck)
            .enumerate()
            .map(|(i, channels)| {
                let hidden = config.gate_width(channels);
                Ok(Gates {
                    fc1: get(&format!("gates.{i}.fc1"), &[1, channels + 1, hidden])?,
                    fc2: get(&format!("gates.{i}.fc2"), &[1, hidden + 1, channels])?,
                    spatial: get(&format!("gates.{i}.spatial"), &[1, channels + 1, 1])?,
                })
            })
            .collect::<Result<_>>()?;
        let (tokens, qkv) = (get("tokens", &[count, d])?, get("qkv", &[count, 3 * d])?);
        Ok(Self { text: file.text, ids, model: file.model, gates, tokens, qkv })
    }
}

/// Several queries side by side.
pub(crate) struct Stacked {
    pub(crate) gates: Vec<Gates>,
    pub(crate) text: CompiledText,
}

/// The stacks of the last calls: streams ask the same from frame to frame, and what depends on the text alone need not be
/// copied for every frame.
#[derive(Default)]
pub(crate) struct Stacks(Mutex<Vec<(Vec<TensorId>, Arc<Stacked>)>>);

/// How many queries the kept stacks may hold together, beyond the newest one's: frames of several streams share a call in
/// changing company, a query of the full model takes 1.3 MB, and a stack that is made anew is no more than a copy.
const KEPT_QUERIES: usize = 16;

impl Stacks {
    /// The stack of `queries`, from an earlier call or made now. Tensors' ids are never used twice, so that a query which
    /// is gone cannot be taken for another.
    pub(crate) fn get(&self, queries: &[&CompiledQuery], longest: usize) -> candle_core::Result<Arc<Stacked>> {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = || queries.iter().map(|query| query.tokens.id());
        {
            let mut kept = kept();
            if let Some(place) = kept.iter().position(|(ids, _)| ids.iter().copied().eq(own())) {
                kept[..=place].rotate_right(1);
                return Ok(Arc::clone(&kept[0].1));
            }
        }
        // Made without the lock: threads that compute may be lent to others who want it meanwhile.
        let (gates, text) = stack(queries, longest)?;
        let made = Arc::new(Stacked { gates, text });
        let mut kept = kept();
        kept.insert(0, (own().collect(), Arc::clone(&made)));
        let mut queries = 0;
        kept.retain(|(ids, _)| {
            queries += ids.len();
            queries <= KEPT_QUERIES || queries == ids.len()
        });
        Ok(made)
    }
}

/// Several queries side by side, one per picture. All are padded to the model's `longest`, and not to the longest of them:
/// sums over tokens then add up in one order, whoever shares the call, and the answers are the same bit for bit.
pub(crate) fn stack(queries: &[&CompiledQuery], longest: usize) -> candle_core::Result<(Vec<Gates>, CompiledText)> {
    let pad = |pick: fn(&CompiledQuery) -> &Tensor| -> candle_core::Result<Tensor> {
        let padded: Vec<Tensor> = queries
            .iter()
            .map(|query| pick(query).pad_with_zeros(0, 0, longest - query.ids.len()))
            .collect::<candle_core::Result<_>>()?;
        Tensor::stack(&padded, 0)
    };
    let (tokens, qkv) = (pad(|q| &q.tokens)?, pad(|q| &q.qkv)?);
    let ignore = if queries.iter().all(|query| query.ids.len() == longest) {
        None
    } else {
        let flags: Vec<u8> = queries.iter().flat_map(|q| (0..longest).map(|i| u8::from(i >= q.ids.len()))).collect();
        Some(Tensor::from_vec(flags, (queries.len(), longest), tokens.device())?)
    };
    let first = queries.first().map_or(0, |query| query.gates.len());
    let gates = match queries {
        [only] => only.gates.clone(),
        _ => (0..first)
            .map(|i| Gates::stack(&queries.iter().map(|query| &query.gates[i]).collect::<Vec<_>>()))
            .collect::<candle_core::Result<_>>()?,
    };
    Ok((gates, CompiledText { tokens, qkv, ignore }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query of two pieces whose tokens are all `value`.
    fn query(value: f32) -> CompiledQuery {
        let full = |columns: usize| Tensor::full(value, (2, columns), &Device::Cpu).expect("filled");
        CompiledQuery::new(format!("{value}"), vec![1, 2], "digest".into(), Vec::new(), full(4), full(12))
    }

    fn first_values(stacked: &Stacked) -> Vec<f32> {
        let tokens: Vec<Vec<Vec<f32>>> = stacked.text.tokens.to_vec3().expect("[Q, n, d]");
        tokens.iter().map(|query| query[0][0]).collect()
    }

    #[test]
    fn the_same_queries_are_stacked_once_and_others_anew() {
        let (stacks, one, two) = (Stacks::default(), query(1.0), query(2.0));
        let both = stacks.get(&[&one, &two], 5).expect("stacked");
        let turned = stacks.get(&[&two, &one], 5).expect("stacked");
        assert_eq!((first_values(&both), first_values(&turned)), (vec![1.0, 2.0], vec![2.0, 1.0]));
        assert_eq!(both.text.tokens.dims(), [2, 5, 4]);
        assert!(Arc::ptr_eq(&both, &stacks.get(&[&one, &two], 5).expect("kept")));
        assert!(Arc::ptr_eq(&turned, &stacks.get(&[&two.clone(), &one], 5).expect("a copy is the same query")));
    }

    #[test]
    fn queries_that_came_in_place_of_others_are_not_taken_for_them() {
        let stacks = Stacks::default();
        for value in 0..200 {
            let query = Box::new(query(value as f32));
            assert_eq!(first_values(&stacks.get(&[&query], 3).expect("stacked")), [value as f32]);
        }
        let queries = |(ids, _): &(Vec<TensorId>, _)| ids.len();
        assert_eq!(stacks.0.lock().expect("whole").iter().map(queries).sum::<usize>(), KEPT_QUERIES);
        let many: Vec<CompiledQuery> = (0..100).map(|value| query(value as f32)).collect();
        let all: Vec<&CompiledQuery> = many.iter().collect();
        let kept = stacks.get(&all, 3).expect("more than are kept beside it");
        assert!(Arc::ptr_eq(&kept, &stacks.get(&all, 3).expect("the newest stays")));
    }
}
