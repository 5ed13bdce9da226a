//! Tables of words in one byte a value: every row has a scale of its own. Rows that training does not change lose less
//! this way than they were rounded by before, and a file half of its size.

use candle_core::{DType, Device, Result, Tensor};

use super::Tensors;

/// What the name of a table's scales ends with.
const SCALES: &str = ".row_scale";
/// Code of zero; the largest value of a row is 127 away from it.
const ZERO: f32 = 128.0;
const LARGEST: f32 = 127.0;

/// What the scales of table `name` are called.
pub(super) fn scales_of(name: &str) -> String {
    format!("{name}{SCALES}")
}

/// The table whose scales `name` would be.
pub(super) fn table_of(name: &str) -> Option<&str> {
    name.strip_suffix(SCALES)
}

/// The tensors as a model file of element type `dtype` holds them; the table named `compact` in one byte a value.
///
/// # Errors
/// Only where memory runs out, or the table is none.
pub fn stored(tensors: &Tensors, dtype: DType, compact: Option<&str>) -> Result<Vec<(String, Tensor)>> {
    let mut all = Vec::with_capacity(tensors.len() + 1);
    for (name, tensor) in tensors {
        if compact == Some(name) {
            let (codes, scales) = pack(tensor)?;
            all.extend([(name.clone(), codes), (scales_of(name), scales)]);
        } else {
            all.push((name.clone(), tensor.to_dtype(dtype)?));
        }
    }
    Ok(all)
}

/// `[R, D]` → codes `[R, D]` u8 and scales `[R]` f32.
fn pack(table: &Tensor) -> Result<(Tensor, Tensor)> {
    let (rows, width) = table.dims2()?;
    let values: Vec<f32> = table.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    let (mut codes, mut scales) = (Vec::with_capacity(values.len()), Vec::with_capacity(rows));
    for row in values.chunks_exact(width.max(1)) {
        let largest = row.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
        let scale = if largest > 0.0 { largest / LARGEST } else { 1.0 };
        codes.extend(row.iter().map(|value| (value / scale + ZERO).round() as u8));
        scales.push(scale);
    }
    Ok((Tensor::from_vec(codes, (rows, width), &Device::Cpu)?, Tensor::from_vec(scales, rows, &Device::Cpu)?))
}

/// Codes `[R, D]` u8 and scales `[R]` → `[R, D]` f32.
pub(super) fn unpack(codes: &Tensor, scales: &Tensor) -> Result<Tensor> {
    let values = (codes.to_dtype(DType::F32)? - f64::from(ZERO))?;
    values.broadcast_mul(&scales.to_dtype(DType::F32)?.unsqueeze(1)?)
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
            save(&stored(&tensors, DType::F16, Some(WORDS)).expect("packed"), None, &path).expect("saved");
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
