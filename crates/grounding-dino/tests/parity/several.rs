//! The front door: findings of several queries, letterboxes, compiled queries in files.

use std::collections::BTreeMap;

use blocks::canvas::Canvas;
use blocks::findings::Findings;
use blocks::preprocess::{Letterboxed, Letterboxer, Picture, Transform};
use candle_core::{Device, Tensor};
use grounding_dino::{CompiledQuery, Grounder, LEAST};

use crate::support::{Asked, MODELS, OUTPUT_LIMIT, cases, load, on_canvas, path, sigmoid, tensors, values};

/// A picture of the fixtures on its own size.
fn unpadded(picture: &Tensor) -> Letterboxed {
    let (_, height, width) = picture.dims3().expect("a picture");
    let transform = Transform::pasted(width, height, 0, 0, Canvas { width, height });
    Letterboxed { pixels: values(&on_canvas(picture, (height, width))), transform }
}

fn compiled(grounder: &Grounder, asked: &Asked) -> Vec<CompiledQuery> {
    asked.phrases.iter().map(|phrase| grounder.compile(phrase).expect("compiles")).collect()
}

/// What the reference's numbers say of one query: scores and boxes, best first.
fn expected(golden: &BTreeMap<String, Tensor>, prefix: &str, span: &[usize], tokens: usize) -> Vec<(f32, [f32; 4])> {
    let (logits, boxes) = (values(&golden[&format!("{prefix}logits")]), values(&golden[&format!("{prefix}boxes")]));
    let score = |row: &[f32]| sigmoid(span.iter().map(|&word| row[word]).fold(f32::NEG_INFINITY, f32::max));
    let boxes = boxes.chunks_exact(4).map(|own| [own[0], own[1], own[2], own[3]]);
    let mut all: Vec<_> = logits.chunks_exact(tokens).map(score).zip(boxes).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all
}

#[test]
fn findings_are_the_references_boxes_by_query() {
    let mut given = 0;
    for model in MODELS {
        let grounder = load(model);
        let golden = tensors(&format!("{model}/golden.safetensors"));
        // Cases without padding: so pictures come in here.
        for (case, asked) in cases(model).into_iter().filter(|(_, asked)| asked.pictures.len() == 1) {
            let prefix = format!("{case}.0.");
            let picture = unpadded(&golden[&format!("{prefix}picture")]);
            let (width, height) = picture.transform.grounded;
            let queries = compiled(&grounder, &asked);
            let queries: Vec<&CompiledQuery> = queries.iter().collect();
            let found = grounder.ground_each(&[&picture], &[&queries]).expect("grounds");
            assert_eq!(found[0].len(), asked.phrases.len());
            for (findings, span) in found[0].iter().zip(&asked.spans) {
                let expected = expected(&golden, &prefix, span, asked.ids.len());
                let count = expected.iter().filter(|(score, _)| *score >= LEAST).count().max(1);
                assert_eq!(findings.found.len(), count, "{model}, {case}");
                assert_eq!(findings.presence, findings.best().and_then(|best| best.score));
                for (finding, (score, own)) in findings.found.iter().zip(expected) {
                    let ours = finding.score.expect("a score");
                    assert!((ours - score).abs() < OUTPUT_LIMIT, "{model}, {case}: {ours}, expected {score}");
                    for (a, b) in finding.on_canvas.iter().zip(own) {
                        assert!((a - b).abs() < OUTPUT_LIMIT, "{model}, {case}: {finding:?}, expected {own:?}");
                    }
                    let [x, y, w, h] = own.map(f64::from);
                    let (width, height) = (width as f64, height as f64);
                    let side = |at: f64, whole: f64| (at * whole).clamp(0.0, whole);
                    let sides = [
                        (finding.rect.x0, side(x - 0.5 * w, width), width),
                        (finding.rect.y0, side(y - 0.5 * h, height), height),
                        (finding.rect.x1, side(x + 0.5 * w, width), width),
                        (finding.rect.y1, side(y + 0.5 * h, height), height),
                    ];
                    for (found, side, whole) in sides {
                        assert!((found - side).abs() < 2e-5 * whole, "{model}, {case}: {finding:?}, expected {own:?}");
                    }
                    given += 1;
                }
            }
        }
    }
    assert!(given > 100, "{given} boxes");
}

fn one_picture() -> Picture {
    let golden = tensors("idea-7/golden.safetensors");
    let picture = &golden["five.0.picture"];
    let (_, height, width) = picture.dims3().expect("a picture");
    let rgb = picture.permute((1, 2, 0)).and_then(|t| t.contiguous()?.flatten_all()?.to_vec1()).expect("bytes");
    Picture { width, height, rgb }
}

#[test]
fn padding_of_a_letterbox_changes_nothing() {
    let grounder = load("mm-7");
    let picture = one_picture();
    let view = picture.view().expect("a view");
    let query = grounder.compile("a red car").expect("compiles");
    let ground = |canvas: Canvas| {
        let boxed = Letterboxer::default().letterbox(&view, canvas).expect("letterboxed");
        let found = grounder.ground_each(&[&boxed], &[&[&query]]).expect("grounds");
        (found.into_iter().flatten().next().expect("findings"), boxed.transform)
    };
    // The picture is 96x64.
    let (tight, _) = ground(Canvas { width: 96, height: 64 });
    let (padded, transform) = ground(Canvas { width: 96, height: 128 });
    assert_eq!((transform.left, transform.top), (0, 32));
    assert_eq!(tight.found.len(), padded.found.len());
    for (a, b) in tight.found.iter().zip(&padded.found) {
        assert_eq!((a.score, a.rect), (b.score, b.rect));
        assert!((b.on_canvas[1] - (a.on_canvas[1] * 0.5 + 0.25)).abs() < 1e-6, "{a:?} {b:?}");
    }
}

#[test]
fn pictures_lie_anywhere_on_their_canvases_each_with_its_own_queries() {
    let grounder = load("idea-12");
    let picture = one_picture();
    let view = picture.view().expect("a view");
    let queries = ["a red car", "the left dog", "cats"].map(|phrase| grounder.compile(phrase).expect("compiles"));
    let boxed = [(96, 64), (160, 64), (144, 100)]
        .map(|(width, height)| Letterboxer::default().letterbox(&view, Canvas { width, height }).expect("letterboxed"));
    // The picture of 96x64 as it is, between bars left and right, and enlarged between bars above and below.
    assert_eq!(boxed.each_ref().map(|boxed| boxed.transform.left), [0, 32, 0]);
    let asked: [&[&CompiledQuery]; 3] = [&[&queries[0]], &[&queries[1], &queries[0]], &[&queries[2]]];
    let found = grounder.ground_each(&boxed.each_ref(), &asked).expect("grounds");
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 1]);
    for ((boxed, queries), found) in boxed.iter().zip(asked).zip(&found) {
        assert_eq!(&grounder.ground_each(&[boxed], &[queries]).expect("grounds")[0], found);
        let Transform { canvas, resized, left, top, .. } = boxed.transform;
        for finding in found.iter().flat_map(|findings| &findings.found) {
            // The same box on the canvas and on the picture.
            let [x, y, w, h] = finding.on_canvas.map(f64::from);
            let across =
                |at: f64| ((at * canvas.width as f64 - left as f64) / resized.0 as f64 * 96.0).clamp(0.0, 96.0);
            let down = |at: f64| ((at * canvas.height as f64 - top as f64) / resized.1 as f64 * 64.0).clamp(0.0, 64.0);
            let rect = finding.rect;
            let pairs = [
                (rect.x0, across(x - 0.5 * w)),
                (rect.x1, across(x + 0.5 * w)),
                (rect.y0, down(y - 0.5 * h)),
                (rect.y1, down(y + 0.5 * h)),
            ];
            assert!(pairs.iter().all(|(a, b)| (a - b).abs() < 1e-3), "{finding:?} on {canvas}");
        }
    }
    // Between bars the same pixels are the same picture.
    let alone = grounder.ground_each(&[&boxed[0]], &[&[&queries[1]]]).expect("grounds");
    let rects = |findings: &Findings| findings.found.iter().map(|finding| finding.rect).collect::<Vec<_>>();
    let between = grounder.ground_each(&[&boxed[1]], &[&[&queries[1]]]).expect("grounds");
    assert_eq!(rects(&alone[0][0]), rects(&between[0][0]));
}

#[test]
fn the_checkpoints_own_preprocessing_is_a_way_in() {
    let grounder = load("idea-12");
    let picture = one_picture();
    let query = grounder.compile("the left dog").expect("compiles");
    let brought = grounder.bring_in(&mut Letterboxer::default(), &picture.view().expect("a view")).expect("brought in");
    // Shortest 64, longest 107: the picture of 96x64 stays as it is.
    assert_eq!(brought.transform.resized, (96, 64));
    let canvas = grounder.canvas_for(picture.width, picture.height);
    assert_eq!(canvas, Canvas { width: 107, height: 64 });
    let boxed = Letterboxer::default().letterbox(&picture.view().expect("a view"), canvas).expect("letterboxed");
    let ground = |picture: &Letterboxed| grounder.ground_each(&[picture], &[&[&query]]).expect("grounds");
    let best = |found: Vec<Vec<Findings>>| found[0][0].best().copied().expect("a box");
    assert_eq!(best(ground(&brought)).rect, best(ground(&boxed)).rect);
    let small = Canvas { width: 48, height: 64 };
    let grounder = grounder.with_canvas(small);
    assert_eq!((grounder.canvases(), grounder.canvas_for(picture.width, picture.height)), (vec![small], small));
    let boxed = Letterboxer::default().letterbox(&picture.view().expect("a view"), small).expect("letterboxed");
    assert_eq!(boxed.transform.resized, (48, 32));
    let found = grounder.ground_each(&[&boxed], &[&[&query]]).expect("grounds");
    assert!(found[0][0].best().is_some_and(|best| best.rect.x1 <= 96.0 && best.rect.y1 <= 64.0));
}

#[test]
fn saved_queries_ground_without_the_text_half() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("query.safetensors");
    let mut whole = load("mm-12");
    let query = whole.compile("The small blue bicycle").expect("compiles");
    query.save(&file).expect("saved");
    let frames = Grounder::load_for_frames(&path("mm-12"), &Device::Cpu).expect("loads");
    let read = frames.load_query(&file).expect("read");
    assert_eq!((read.text(), read.ids(), read.model()), (query.text(), query.ids(), query.model()));
    let picture = unpadded(&tensors("mm-12/golden.safetensors")["one.0.picture"]);
    let ours = whole.ground_each(&[&picture], &[&[&query]]).expect("grounds");
    assert_eq!(frames.ground_each(&[&picture], &[&[&read]]).expect("grounds"), ours);
    assert!(frames.compile("a dog").expect_err("no text half").is_usage());
    whole.drop_text();
    assert!(whole.compile("a dog").is_err());
    let other = load("mm-7");
    let message = other.load_query(&file).expect_err("another model's").to_string();
    assert!(message.contains("compile the query again"), "{message}");
    assert!(other.ground_each(&[&picture], &[&[&query]]).is_err());
}

#[test]
fn three_hundred_queries_take_several_passes() {
    let grounder = load("idea-7");
    let words = ["red car", "dog", "umbrella", "blue bicycle", "man with hat"];
    let queries: Vec<CompiledQuery> =
        (0..300).map(|i| grounder.compile(words[i % words.len()]).expect("compiles")).collect();
    let pieces: usize = queries.iter().map(|query| query.ids().len()).sum();
    assert!(pieces > 3 * grounder.config().max_text_len);
    let all: Vec<&CompiledQuery> = queries.iter().collect();
    let picture = unpadded(&tensors("idea-7/golden.safetensors")["five.0.picture"]);
    let found = grounder.ground_each(&[&picture], &[&all]).expect("grounds");
    assert_eq!(found[0].len(), 300);
    // The first pass is what its queries give alone.
    let mut room = grounder.config().max_text_len - 2;
    let first = all.iter().take_while(|query| {
        let fits = query.ids().len() <= room;
        room = room.saturating_sub(query.ids().len());
        fits
    });
    let first: Vec<&CompiledQuery> = first.copied().collect();
    let alone = grounder.ground_each(&[&picture], &[&first]).expect("grounds");
    assert_eq!(found[0][..first.len()], alone[0]);
    assert_eq!(grounder.ground_each(&[&picture], &[&[]]).expect("nothing asked"), vec![Vec::<Findings>::new()]);
}
