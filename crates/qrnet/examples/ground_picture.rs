//! Grounds one picture: `cargo run --release -p qrnet --example ground_picture MODEL_DIR PICTURE "the red car"`.

use std::path::Path;

use blocks::preprocess::{Letterboxer, Picture};
use qrnet::{Device, Grounder};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, picture, query] = arguments.as_slice() else {
        return Err("usage: ground_picture MODEL_DIR PICTURE QUERY".into());
    };
    let grounder = Grounder::load(Path::new(model), &Device::Cpu)?;
    let query = grounder.compile(query)?;
    let picture = Picture::open(Path::new(picture))?;
    let letterboxed = Letterboxer::default().letterbox(&picture.view()?, grounder.canvas())?;
    let found = grounder.ground(&[&letterboxed], &query)?[0];
    let rect = found.rect;
    #[expect(clippy::print_stdout, reason = "the result is data")]
    {
        println!("{:.1} {:.1} {:.1} {:.1}", rect.x0, rect.y0, rect.width(), rect.height());
    }
    Ok(())
}
