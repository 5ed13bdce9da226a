//! HEIC and AVIF, the pictures of phones, by the system's gdk-pixbuf and its loader for them; all other kinds by the model
//! crate's reader.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use blocks::preprocess::Picture;
use gdk_pixbuf::Pixbuf;

/// Debian's package with the loader.
pub(crate) const LOADER: &str = "heif-gdk-pixbuf";

/// Reads a picture, upright, RGB.
///
/// # Errors
/// The file cannot be read, is empty, of an unknown format, truncated or damaged.
pub(crate) fn open_picture(path: &Path) -> grounding::Result<Picture> {
    if !is_heif(path) {
        return Picture::open(path);
    }
    let fail = |reason: String| grounding::Error::Picture { path: path.to_path_buf(), reason };
    if !can_read() {
        return Err(fail(format!("is HEIC or AVIF, which needs the package {LOADER}")));
    }
    let read = Pixbuf::from_file(path).map_err(|e| fail(format!("cannot be decoded (truncated or damaged?): {e}")))?;
    let upright = read.apply_embedded_orientation().unwrap_or(read);
    let side = |side: i32| usize::try_from(side).unwrap_or(0);
    let (width, height) = (side(upright.width()), side(upright.height()));
    let (stride, channels) = (side(upright.rowstride()), side(upright.n_channels()));
    let pixels = upright.read_pixel_bytes();
    let rows = pixels.chunks(stride.max(1)).take(height);
    let rgb: Vec<u8> =
        rows.flat_map(|row| row.chunks_exact(channels.max(3)).take(width)).flat_map(|p| &p[..3]).copied().collect();
    if rgb.len() != 3 * width * height {
        return Err(fail(format!("holds {} bytes of pixels, expected {}", rgb.len(), 3 * width * height)));
    }
    Ok(Picture { width, height, rgb })
}

/// Whether the loader is installed.
pub(crate) fn can_read() -> bool {
    Pixbuf::formats()
        .iter()
        .filter_map(gdk_pixbuf::PixbufFormat::name)
        .any(|name| name.contains("hei") || name == "avif")
}

/// By the brand at its beginning (ISO/IEC 23008-12, section 10).
fn is_heif(path: &Path) -> bool {
    let mut head = [0; 12];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok();
    let brands: [&[u8; 4]; 8] = [b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1", b"avif", b"avis"];
    read && &head[4..8] == b"ftyp" && brands.iter().any(|brand| head[8..] == brand[..])
}
