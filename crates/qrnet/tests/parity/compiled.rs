//! The compiled path against the golden boxes and against the plain forward.

use blocks::checkpoint::Tensors;
use blocks::pass::Pass;
use blocks::preprocess::{Letterboxed, Letterboxer, RgbView, Transform};
use blocks::text::tokenizer::QueryTokenizer;
use candle_core::{DType, Device, Tensor};
use qrnet::plan::CanvasPlan;
use qrnet::{Config, Grounder, QrNet, init, weights};

use crate::support::{BOX_LIMIT, Case, cases, config, path};

/// A vocabulary in which piece `i` is the word `w<i>`, framed by the ids that the fixture uses, so that the fixture's
/// ids can be written as text.
struct Vocabulary {
    cls: u32,
    sep: u32,
    tokenizer_file: tempfile::NamedTempFile,
}

impl Vocabulary {
    fn new(config: &Config, cases: &[Case]) -> Self {
        let rows: Vec<Vec<u32>> = cases.iter().flat_map(real_ids).collect();
        let (cls, sep) = (rows[0][0], *rows[0].last().expect("framed"));
        assert!(rows.iter().all(|row| row[0] == cls && row.last() == Some(&sep)), "one framing for all cases");
        let size = config.bert.vocab_size as u32;
        let used = |id: u32| id == cls || id == sep || rows.iter().any(|row| row.contains(&id));
        let unknown = (1..size).find(|&id| !used(id)).expect("a spare id");
        let piece = |id: u32| match id {
            0 => "[PAD]".into(),
            id if id == cls => "[CLS]".into(),
            id if id == sep => "[SEP]".into(),
            id if id == unknown => "[UNK]".into(),
            id => format!("w{id}"),
        };
        let lines: Vec<String> = (0..size).map(piece).collect();
        let file = tempfile::Builder::new().suffix(".txt").tempfile().expect("a file");
        std::fs::write(file.path(), lines.join("\n")).expect("written");
        Self { cls, sep, tokenizer_file: file }
    }

    fn tokenizer(&self, config: &Config) -> QueryTokenizer {
        QueryTokenizer::from_file(self.tokenizer_file.path(), config.max_query_len, config.bert.vocab_size)
            .expect("valid")
    }

    /// `count` words that the vocabulary knows.
    fn words(&self, config: &Config, count: usize) -> String {
        let tokenizer = self.tokenizer(config);
        let known = |id: &u32| tokenizer.encode(&format!("w{id}")).is_ok();
        let words = (1..config.bert.vocab_size as u32).filter(known).cycle().skip(count).step_by(3).take(count);
        self.text(&words.collect::<Vec<_>>())
    }

    fn text(&self, ids: &[u32]) -> String {
        ids.iter()
            .filter(|&&id| id != self.cls && id != self.sep)
            .map(|id| format!("w{id}"))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// The unpadded ids of every row of a case.
fn real_ids(case: &Case) -> Vec<Vec<u32>> {
    let ids: Vec<Vec<u32>> = case.ids.to_vec2().expect("ids");
    let ignore: Vec<Vec<u8>> = case.text_ignore.to_vec2().expect("flags");
    let real = |(row, flags): (&Vec<u32>, &Vec<u8>)| {
        row.iter().zip(flags).filter(|(_, f)| **f == 0).map(|(id, _)| *id).collect()
    };
    ids.iter().zip(&ignore).map(real).collect()
}

/// The pictures of a case as the letterboxer would hand them over; the mask says where they lie.
fn pictures(case: &Case) -> Vec<Letterboxed> {
    let masks: Vec<Vec<Vec<u8>>> = case.image_ignore.to_vec3().expect("masks");
    masks
        .iter()
        .enumerate()
        .map(|(i, mask)| {
            let rows: Vec<usize> = (0..mask.len()).filter(|&y| mask[y].contains(&0)).collect();
            let columns: Vec<usize> = (0..mask[0].len()).filter(|&x| mask[rows[0]][x] == 0).collect();
            let mut transform = Transform::letterbox(columns.len(), rows.len(), case.canvas);
            (transform.resized, transform.left, transform.top) = ((columns.len(), rows.len()), columns[0], rows[0]);
            let pixels = case.image.get(i).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1()).expect("pixels");
            let picture = Letterboxed { pixels, transform };
            assert_eq!(picture.ignore_mask(), mask.concat(), "the fixture's padding is a centred letterbox");
            picture
        })
        .collect()
}

fn fixture_tensors(config: &Config) -> Tensors {
    weights::load(&path("tiny.safetensors"), config, &Device::Cpu).expect("weights load").0
}

#[test]
fn compiled_boxes_match_the_golden_ones() {
    let (config, cases) = (config(), cases());
    let vocabulary = Vocabulary::new(&config, &cases);
    let tensors = fixture_tensors(&config);
    for case in &cases {
        let mut config = config.clone();
        config.pos_canvas = Some(config.canvas);
        config.canvas = case.canvas;
        config.validate("case").expect("the case's canvas fits the position table");
        let grounder =
            Grounder::from_tensors(&config, &tensors, vocabulary.tokenizer(&config), "fixture".into(), &Device::Cpu)
                .expect("loads");
        let pictures = pictures(case);
        let queries: Vec<_> = real_ids(case)
            .iter()
            .map(|ids| {
                let query = grounder.compile(&vocabulary.text(ids)).expect("compiles");
                assert_eq!(query.ids(), ids, "case {}", case.name);
                query
            })
            .collect();
        let Some(golden) = case.golden.get("pred_box") else {
            continue;
        };
        let golden: Vec<Vec<f32>> = golden.to_vec2().expect("boxes");
        let together = grounder
            .ground_each(&pictures.iter().collect::<Vec<_>>(), &queries.iter().collect::<Vec<_>>())
            .expect("grounds as one batch");
        for i in 0..pictures.len() {
            let alone = grounder.ground(&[&pictures[i]], &queries[i]).expect("grounds")[0].raw;
            assert_close(&alone, &golden[i], &format!("case {} row {i}, alone", case.name));
            assert_close(&together[i].raw, &golden[i], &format!("case {} row {i}, in a batch", case.name));
        }
    }
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= BOX_LIMIT, "{what}: {found:?}, expected {expected:?}");
    }
}

/// Pictures of several shapes, full of colour.
fn sample_pictures(config: &Config, sizes: &[(usize, usize)]) -> Vec<Letterboxed> {
    let mut letterboxer = Letterboxer::default();
    sizes
        .iter()
        .enumerate()
        .map(|(n, &(width, height))| {
            let rgb: Vec<u8> =
                (0..3 * width * height).map(|i| ((i * (7 + n) + i / (3 * width) * 31) % 256) as u8).collect();
            let view = RgbView::new(width, height, 3 * width, &rgb).expect("a picture");
            letterboxer.letterbox(&view, config.canvas).expect("letterboxed")
        })
        .collect()
}

/// The plain forward on the same inputs: boxes and presence logits.
fn plain(
    config: &Config,
    tensors: &Tensors,
    pictures: &[&Letterboxed],
    ids: &[Vec<u32>],
) -> (Vec<Vec<f32>>, Option<Vec<f32>>) {
    let device = &Device::Cpu;
    let model = QrNet::new(config, &weights::builder(tensors, device)).expect("builds");
    let plan = CanvasPlan::new(config, config.canvas, device).expect("plan");
    let length = config.max_query_len;
    let padded: Vec<u32> = ids.iter().flat_map(|row| (0..length).map(|i| row.get(i).copied().unwrap_or(0))).collect();
    let ignore: Vec<u8> = ids.iter().flat_map(|row| (0..length).map(|i| u8::from(i >= row.len()))).collect();
    let output = model
        .forward(
            &Letterboxed::batch(pictures, device).expect("batch"),
            &Letterboxed::ignore_batch(pictures, device).expect("masks"),
            &Tensor::from_vec(padded, (ids.len(), length), device).expect("ids"),
            &Tensor::from_vec(ignore, (ids.len(), length), device).expect("flags"),
            &plan,
            &mut Pass::eval(),
        )
        .expect("runs");
    let presence = output.presence.map(|p| p.to_dtype(DType::F32).and_then(|p| p.to_vec1()).expect("logits"));
    (output.boxes.to_vec2().expect("boxes"), presence)
}

#[test]
fn compiled_equals_plain_for_three_queries_in_batches_of_one_and_three() {
    let mut config = config();
    config.presence = true;
    let vocabulary = Vocabulary::new(&config, &cases());
    let mut tensors = init::parameters(&config, 5, &Device::Cpu).expect("a presence head");
    tensors.extend(fixture_tensors(&{
        let mut without = config.clone();
        without.presence = false;
        without
    }));
    let tokenizer = || vocabulary.tokenizer(&config);
    let mut grounder =
        Grounder::from_tensors(&config, &tensors, tokenizer(), "test".into(), &Device::Cpu).expect("loads");
    let texts = [1, 3, config.max_query_len - 2].map(|count| vocabulary.words(&config, count));
    let queries: Vec<_> = texts.iter().map(|text| grounder.compile(text).expect("compiles")).collect();
    // From here on neither text tower nor generators are there.
    grounder.drop_text();
    assert!(grounder.compile(&texts[0]).is_err(), "text weights are gone");

    let all = sample_pictures(&config, &[(200, 100), (90, 160), (64, 64)]);
    let alike = sample_pictures(&config, &[(200, 100), (400, 200), (20, 10)]);
    for pictures in [&all, &alike] {
        let batch: Vec<&Letterboxed> = pictures.iter().collect();
        for query in &queries {
            let ids = query.ids().to_vec();
            let (boxes, presence) = plain(&config, &tensors, &batch, &vec![ids.clone(); 3]);
            let presence = presence.expect("a presence head");
            let together = grounder.ground(&batch, query).expect("grounds");
            for i in 0..3 {
                let alone = grounder.ground(&[batch[i]], query).expect("grounds")[0];
                for found in [alone, together[i]] {
                    assert_close(&found.raw, &boxes[i], query.text());
                    let expected = 1.0 / (1.0 + (-presence[i]).exp());
                    assert!((found.presence.expect("a presence") - expected).abs() <= BOX_LIMIT);
                }
            }
        }
        let each = grounder.ground_each(&batch, &queries.iter().collect::<Vec<_>>()).expect("grounds");
        let ids: Vec<Vec<u32>> = queries.iter().map(|query| query.ids().to_vec()).collect();
        let (boxes, _) = plain(&config, &tensors, &batch, &ids);
        for (found, expected) in each.iter().zip(&boxes) {
            assert_close(&found.raw, expected, "one query per picture");
        }
    }
}

#[test]
fn a_picture_thinner_than_a_token_still_grounds() {
    let config = config();
    let vocabulary = Vocabulary::new(&config, &cases());
    let tensors = fixture_tensors(&config);
    let grounder =
        Grounder::from_tensors(&config, &tensors, vocabulary.tokenizer(&config), "test".into(), &Device::Cpu)
            .expect("loads");
    let query = grounder.compile(&vocabulary.words(&config, 2)).expect("compiles");
    // One pixel wide at column 63: no token's first pixel shows it, so every visual token is masked.
    let pictures = sample_pictures(&config, &[(8, 8192)]);
    let batch: Vec<&Letterboxed> = pictures.iter().collect();
    let (boxes, _) = plain(&config, &tensors, &batch, &[query.ids().to_vec()]);
    assert_close(&grounder.ground(&batch, &query).expect("grounds")[0].raw, &boxes[0], "all visual tokens masked");
}

#[test]
fn a_saved_query_is_the_same_query() {
    let config = config();
    let vocabulary = Vocabulary::new(&config, &cases());
    let tensors = fixture_tensors(&config);
    let grounder = |digest: &str| {
        Grounder::from_tensors(&config, &tensors, vocabulary.tokenizer(&config), digest.into(), &Device::Cpu)
            .expect("loads")
    };
    let model = grounder("one");
    let query = model.compile(&vocabulary.words(&config, 3)).expect("compiles");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("query.safetensors");
    query.save(&file).expect("saved");
    let read = model.load_query(&file).expect("read");
    assert_eq!((read.text(), read.ids()), (query.text(), query.ids()));
    let pictures = sample_pictures(&config, &[(50, 70)]);
    let raw = |query| model.ground(&[&pictures[0]], query).expect("grounds")[0].raw;
    assert_eq!(raw(&read), raw(&query), "bit for bit");

    let other = grounder("two");
    let message = other.load_query(&file).expect_err("another model").to_string();
    assert!(message.contains("compiled for model one, but this model is two"), "{message}");
    assert!(other.ground(&[&pictures[0]], &query).is_err(), "also in memory");
}
