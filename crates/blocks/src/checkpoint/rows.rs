//! Tensors in one byte a value: every row has a scale of its own. Words that training does not change lose less this way
//! than they were rounded by before, and a file half of its size; weights of products in bytes lose nothing, for these
//! compute with the same bytes.

use candle_core::{DType, Device, Result, Tensor};

use super::Tensors;
use crate::ops::kernel::int8;

/// What the name of a table's scales ends with.
const SCALES: &str = ".row_scale";
/// Code of zero; the largest value of a row is 127 away from it.
const ZERO: i16 = 128;

/// What the scales of table `name` are called.
pub(super) fn scales_of(name: &str) -> String {
    format!("{name}{SCALES}")
}

/// The table whose scales `name` would be.
pub(super) fn table_of(name: &str) -> Option<&str> {
    name.strip_suffix(SCALES)
}

/// How a file holds a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In this element type.
    Plain(DType),
    /// In one byte a value.
    Bytes,
}

/// The tensors as a file holds them, each in the form that `form` says of its name.
///
/// # Errors
/// Only where memory runs out.
pub fn stored(tensors: &Tensors, form: impl Fn(&str) -> Form) -> Result<Vec<(String, Tensor)>> {
    let mut all = Vec::with_capacity(tensors.len() + 1);
    for (name, tensor) in tensors {
        match form(name) {
            Form::Plain(dtype) => all.push((name.clone(), tensor.to_dtype(dtype)?)),
            Form::Bytes => {
                let (codes, scales) = pack(tensor)?;
                all.extend([(name.clone(), codes), (scales_of(name), scales)]);
            }
        }
    }
    Ok(all)
}

/// `[R, ..]` → codes `[R, ..]` u8 and scales `[R]` f32.
fn pack(table: &Tensor) -> Result<(Tensor, Tensor)> {
    let (rows, width) = table.flatten_from(1)?.dims2()?;
    let values: Vec<f32> = table.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    let (steps, scales) = int8::in_steps(&values, width.max(1));
    let codes: Vec<u8> = steps.into_iter().map(|step| (i16::from(step) + ZERO) as u8).collect();
    Ok((Tensor::from_vec(codes, table.shape(), &Device::Cpu)?, Tensor::from_vec(scales, rows, &Device::Cpu)?))
}

/// Codes `[R, ..]` u8 and scales `[R]` → `[R, ..]` f32.
pub(super) fn unpack(codes: &Tensor, scales: &Tensor) -> Result<Tensor> {
    let values = (codes.to_dtype(DType::F32)? - f64::from(ZERO))?.flatten_from(1)?;
    values.broadcast_mul(&scales.to_dtype(DType::F32)?.unsqueeze(1)?)?.reshape(codes.shape())
}

/// Codes `[R, ..]` u8 and scales `[R]` as [`int8::in_steps`] gives them.
pub(super) fn steps(codes: &Tensor, scales: &Tensor) -> Result<(Vec<i8>, Vec<f32>)> {
    let codes: Vec<u8> = codes.flatten_all()?.to_vec1()?;
    let steps = codes.into_iter().map(|code| (i16::from(code) - ZERO) as i8).collect();
    Ok((steps, scales.to_dtype(DType::F32)?.to_vec1()?))
}

/// Unpacks the tables of a file that was read whole.
///
/// # Errors
/// Codes and scales of a table do not fit.
pub fn unpack_all(tensors: &mut Tensors) -> Result<()> {
    let tables: Vec<String> = tensors.keys().filter_map(|name| table_of(name)).map(String::from).collect();
    for table in tables {
        if let (Some(scales), Some(codes)) = (tensors.remove(&scales_of(&table)), tensors.get(&table)) {
            let values = unpack(codes, &scales)?;
            tensors.insert(table, values);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    use crate::checkpoint::{TensorFile, save};

    const WORDS: &str = "words";

    #[test]
    fn words_survive_one_byte_and_then_do_not_change_again() {
        let mut rng = crate::seeded::stream(1, "words");
        let words: Vec<f32> = (0..50 * 12).map(|_| rng.random_range(-0.2..0.2)).collect();
        let words = Tensor::from_vec(words, (50, 12), &Device::Cpu).expect("a table");
        let zeros = Tensor::zeros((1, 12), DType::F32, &Device::Cpu).expect("a row");
        let other = Tensor::zeros(3, DType::F32, &Device::Cpu).expect("a tensor");
        let words = Tensor::cat(&[&zeros, &words], 0).expect("joined");
        let mut tensors: Tensors = [(WORDS.to_owned(), words), ("other".to_owned(), other)].into();
        let values = |tensor: &Tensor| -> Vec<f32> {
            tensor.to_dtype(DType::F32).and_then(|t| t.flatten_all()?.to_vec1()).expect("values")
        };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.safetensors");
        let mut before = values(&tensors[WORDS]);
        for round in 0..2 {
            let form = |name: &str| if name == WORDS { Form::Bytes } else { Form::Plain(DType::F16) };
            save(&stored(&tensors, form).expect("packed"), None, &path).expect("saved");
            let file = TensorFile::open(&path).expect("opened");
            assert!(file.names().iter().all(|name| !name.ends_with(SCALES)), "scales are no tensors of the model");
            let found = file.load(WORDS, &Device::Cpu).expect("read");
            let largest = before.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
            let limit = if round == 0 { largest / 250.0 } else { 1e-6 };
            for (a, b) in values(&found).iter().zip(&before) {
                assert!((a - b).abs() <= limit, "round {round}: {a}, expected {b}");
            }
            let mut whole: Tensors =
                candle_core::safetensors::load(&path, &Device::Cpu).expect("read").into_iter().collect();
            unpack_all(&mut whole).expect("unpacked");
            assert_eq!(values(&whole[WORDS]), values(&found));
            assert_eq!(whole.len(), tensors.len());
            before = values(&found);
            tensors.insert(WORDS.into(), found);
        }
    }
}
